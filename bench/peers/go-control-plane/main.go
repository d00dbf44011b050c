// What bench/control-plane.ts measures Layby beside: a server on go-control-plane's snapshot cache, one snapshot for all nodes. It serves
// what it is told to: `serve DIR` on standard input, DIR holding for each type a DiscoveryResponse with its resources. What it
// answers: the port it listens on, then `ok` to each line.
package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	runtime "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const everyone = "everyone"

type one struct{}

func (one) ID(*core.Node) string { return everyone }

var served = []struct {
	file string
	kind types.ResponseType
	make func() types.Resource
}{
	{"cluster", types.Cluster, func() types.Resource { return &cluster.Cluster{} }},
	{"listener", types.Listener, func() types.Resource { return &listener.Listener{} }},
	{"route", types.Route, func() types.Resource { return &route.RouteConfiguration{} }},
	{"runtime", types.Runtime, func() types.Resource { return &runtime.Runtime{} }},
}

func load(dir string) (*cache.Snapshot, error) {
	snapshot := &cache.Snapshot{}
	for _, each := range served {
		bytes, err := os.ReadFile(filepath.Join(dir, each.file+".pb"))
		if err != nil {
			return nil, err
		}
		response := &discovery.DiscoveryResponse{}
		if err := proto.Unmarshal(bytes, response); err != nil {
			return nil, err
		}
		var resources []types.Resource
		for _, any := range response.Resources {
			resource := each.make()
			if err := proto.Unmarshal(any.Value, resource); err != nil {
				return nil, err
			}
			resources = append(resources, resource)
		}
		snapshot.Resources[each.kind] = cache.NewResources(response.VersionInfo, resources)
	}
	return snapshot, nil
}

func main() {
	snapshots := cache.NewSnapshotCache(true, one{}, nil)
	service := grpc.NewServer(grpc.MaxConcurrentStreams(1 << 20))
	discovery.RegisterAggregatedDiscoveryServiceServer(service, server.NewServer(context.Background(), snapshots, nil))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(socket.Addr().(*net.TCPAddr).Port)
	go func() {
		if err := service.Serve(socket); err != nil {
			panic(err)
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		dir := strings.TrimPrefix(lines.Text(), "serve ")
		snapshot, err := load(dir)
		if err == nil {
			err = snapshots.SetSnapshot(context.Background(), everyone, snapshot)
		}
		if err != nil {
			panic(err)
		}
		fmt.Println("ok")
	}
}
