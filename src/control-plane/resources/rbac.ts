// Envoy's filter that lets some requests through and others not.

const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';

export const RBAC_FILTER = 'envoy.filters.http.rbac';

/** Of a listener. The rules are a virtual host's or a route's. */
export const rbacFilter = { name: RBAC_FILTER, typed_config: { '@type': TYPE } };

/** Of a virtual host or a route: one rule. */
export const rbacRule = (action: 'ALLOW' | 'DENY', permissions: object[], principals: object[]) => ({
  [RBAC_FILTER]: {
    '@type': `${TYPE}PerRoute`,
    rbac: { rules: { action, policies: { rule: { permissions, principals } } } },
  },
});
