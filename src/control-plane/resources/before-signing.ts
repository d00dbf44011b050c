// What is done to a request before Envoy signs it, by Lua, in both listeners. Envoy's signer and AWS do not read every request alike;
// here each gets the one form that both read alike, and means the same. See docs/wire.md, "What a signature changes".

import { bucketHosts } from '../../policy/bucket.ts';
import type { Destination } from '../../policy/policy.ts';
import { HOST_HEADER, PREFIX_HEADER } from '../../wire/names.ts';
import { upstreamOf } from './clusters.ts';

const LUA_FILTER = 'envoy.filters.http.lua';
const LUA = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3';
const SCRIPT_NAME = 'before-signing';

/** What a route says to the script, as its filter context. */
interface Context {
  /** The request is an app's: what it had called is noted for the queue. */
  called: boolean;
  /** Put before the path. */
  prefix?: string;
  /** Of hosts below these names the first part is a bucket, which is put before the path; but not of these hosts. */
  bases?: string[];
  exact?: string[];
  /** Left out: it is not signed. */
  sign?: 's3' | 'other';
  /** The upstream takes a value of one space, which Envoy signs as the empty value that it is. HTTP/2 forbids it (RFC 9113 section 8.2.1). */
  blank?: boolean;
}

// LuaJIT, so Lua 5.1. Headers must not be changed while they are iterated.
const SCRIPT = `
local UNRESERVED = "%w%-._~"
local PATH = UNRESERVED .. "/"

-- One spelling for each byte: "kept" stays raw, escapes of "bare" become raw, all else is an escape in upper case.
local function spelled(text, kept, bare)
  if not string.find(text, "[^" .. UNRESERVED .. "]") then return text end
  local escapes = string.gsub(text, "%%(%x?%x?)", function(hex)
    if #hex < 2 then return "%25" .. hex end
    local char = string.char(tonumber(hex, 16))
    return string.find(char, "[" .. bare .. "]") and char or "%" .. string.upper(hex)
  end)
  return (string.gsub(escapes, "[^%%" .. kept .. "]", function(char)
    return string.format("%%%02X", string.byte(char))
  end))
end

local function unescaped(text)
  return (string.gsub(text, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- A request that is authenticated in its URL as well is refused: these are of the app's own signature, which ours replaces.
local PRESIGNED = {
  ["x-amz-algorithm"] = true, ["x-amz-credential"] = true, ["x-amz-date"] = true, ["x-amz-expires"] = true,
  ["x-amz-signedheaders"] = true, ["x-amz-signature"] = true, ["x-amz-security-token"] = true,
  ["x-amz-content-sha256"] = true, ["x-amz-region-set"] = true, ["x-amz-s3session-token"] = true,
}
local PRESIGNED_V2 = { awsaccesskeyid = true, signature = true, expires = true, ["x-amz-security-token"] = true }

local function query(text, headers, s3)
  local pairs_of, names = {}, {}
  for pair in string.gmatch(text, "[^&]+") do
    local name, value = string.match(string.gsub(pair, "%+", "%%20"), "^([^=]*)(.*)$")
    name = spelled(name, UNRESERVED, UNRESERVED)
    if value ~= "" then value = "=" .. spelled(string.sub(value, 2), UNRESERVED, UNRESERVED) end
    local lower = string.lower(name)
    names[lower] = true
    table.insert(pairs_of, { name .. value, lower, string.sub(value, 2) })
  end
  local presigned = names["x-amz-signature"] or names["x-amz-algorithm"] or names["x-amz-credential"]
  local presigned_v2 = s3 and (names["awsaccesskeyid"] or names["signature"])
  local kept = {}
  for _, pair in ipairs(pairs_of) do
    local whole, lower, value = pair[1], pair[2], pair[3]
    local gone = (presigned and PRESIGNED[lower]) or (presigned_v2 and PRESIGNED_V2[lower])
    if not gone and s3 and presigned and string.find(lower, "^x%-amz%-[%w_.-]+$") then
      -- Who signs a URL moves these headers into it. S3 looks for them there in such a URL alone.
      if headers:get(lower) == nil then headers:add(lower, (string.gsub(unescaped(value), "%c", " "))) end
      gone = true
    end
    if not gone then table.insert(kept, whole) end
  end
  return #kept > 0 and "?" .. table.concat(kept, "&") or ""
end

-- Envoy signs no empty value, and a tab as a tab. S3 wants some headers signed wherever they are there.
local function values(headers, s3, blank)
  local odd = {}
  for name, value in pairs(headers) do
    if (value == "" or string.find(value, "\\t", 1, true)) and name ~= "cookie" and string.sub(name, 1, 1) ~= ":" then
      odd[name] = true
    end
  end
  for name in pairs(odd) do
    local value = string.gsub(headers:get(name), "[ \\t]*\\t[ \\t]*", " ")
    value = string.match(value, "^ *(.-) *$")
    local unsigned = not s3 or not (name == "content-type" or string.sub(name, 1, 6) == "x-amz-")
    if value ~= "" then headers:replace(name, value)
    elseif blank then headers:replace(name, " ")
    elseif unsigned then headers:replace(name, "")
    else headers:remove(name) end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local context = handle:filterContext()
  local sign = context:get("sign")
  local host = headers:get(":authority")
  local prefix = context:get("prefix") or ""
  if context:get("called") then headers:replace("${HOST_HEADER}", host) end
  local bare = string.lower((string.gsub(host, ":%d*$", "")))
  local named = false
  for _, exact in ipairs(context:get("exact") or {}) do named = named or bare == exact end
  for _, base in ipairs(named and {} or context:get("bases") or {}) do
    if string.sub(bare, -#base - 1) == "." .. base then
      prefix = "/" .. string.sub(bare, 1, -#base - 2)
      break
    end
  end
  local path = prefix .. headers:get(":path")
  if sign then
    local s3 = sign == "s3"
    local to_bare = s3 and PATH or UNRESERVED
    local resource, asked = string.match(path, "^([^?]*)%??(.*)$")
    path = spelled(resource, PATH, to_bare) .. query(asked, headers, s3)
    prefix = spelled(prefix, PATH, to_bare)
    values(headers, s3, context:get("blank"))
  end
  if prefix ~= "" then headers:replace("${PREFIX_HEADER}", prefix) end
  headers:replace(":path", path)
end
`;

/** In every listener. Does nothing unless a route asks for it. */
export const beforeSigningFilter = {
  name: LUA_FILTER,
  disabled: true,
  typed_config: {
    '@type': `${LUA}.Lua`,
    source_codes: { [SCRIPT_NAME]: { inline_string: SCRIPT } },
    // The path that it makes is not the one that the app called, and that alone chooses the route.
    clear_route_cache: false,
  },
};

const contextOf = (destination: Destination, fromApp: boolean): Context | undefined => {
  const { protocol, sign } = destination.upstream;
  const { path } = upstreamOf(destination);
  const bases = fromApp ? bucketHosts(destination) : [];
  if (!sign && bases.length === 0) return undefined;
  return {
    called: fromApp,
    ...(fromApp && sign && path && { prefix: path }),
    ...(bases.length > 0 && { bases, exact: destination.hosts.filter((host) => !host.startsWith('*.')) }),
    ...(sign && { sign: sign.aws.service === 's3' ? 's3' : 'other', blank: protocol !== 'http2' }),
  };
};

/** The per-route configuration; empty where nothing is to be done. The signature rewrites the host: on routes of apps the authority that
 *  was called is noted for the queue before, and the path of the upstream URL, or the bucket, is put before the path, which is
 *  noted too. */
export function beforeSigning(destination: Destination, { fromApp }: { fromApp: boolean }): object {
  const context = contextOf(destination, fromApp);
  if (!context) return {};
  return {
    [LUA_FILTER]: {
      '@type': `${LUA}.LuaPerRoute`,
      name: SCRIPT_NAME,
      filter_context: context,
    },
  };
}
