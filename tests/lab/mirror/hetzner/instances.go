package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	core "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

const providerPrefix = providerName + "://"

// server is the node's server: by provider ID, or by name while the node has none. It is nil when there is none.
func (c *cloud) server(ctx context.Context, node *core.Node) (*hcloud.Server, error) {
	if node.Spec.ProviderID == "" {
		server, _, err := c.client.Server.GetByName(ctx, node.Name)
		return server, err
	}
	id, err := serverID(node)
	if err != nil {
		return nil, err
	}
	server, _, err := c.client.Server.GetByID(ctx, id)
	return server, err
}

func serverID(node *core.Node) (int64, error) {
	number, found := strings.CutPrefix(node.Spec.ProviderID, providerPrefix)
	if !found {
		return 0, fmt.Errorf("node %s has the provider ID %q, not one of %s", node.Name, node.Spec.ProviderID, providerPrefix)
	}
	return strconv.ParseInt(number, 10, 64)
}

func (c *cloud) existingServer(ctx context.Context, node *core.Node) (*hcloud.Server, error) {
	server, err := c.server(ctx, node)
	if err == nil && server == nil {
		err = fmt.Errorf("failed to get instance metadata: no matching server found for node '%s'", node.Name)
	}
	return server, err
}

func (c *cloud) InstanceExists(ctx context.Context, node *core.Node) (bool, error) {
	server, err := c.server(ctx, node)
	return server != nil, err
}

func (c *cloud) InstanceShutdown(ctx context.Context, node *core.Node) (bool, error) {
	server, err := c.existingServer(ctx, node)
	if err != nil {
		return false, err
	}
	return server.Status == hcloud.ServerStatusOff, nil
}

func (c *cloud) InstanceMetadata(ctx context.Context, node *core.Node) (*cloudprovider.InstanceMetadata, error) {
	server, err := c.existingServer(ctx, node)
	if err != nil {
		return nil, err
	}
	return &cloudprovider.InstanceMetadata{
		ProviderID:       providerPrefix + strconv.FormatInt(server.ID, 10),
		InstanceType:     server.ServerType.Name,
		NodeAddresses:    c.addresses(server),
		Zone:             server.Location.Name,
		Region:           server.Location.Name,
		AdditionalLabels: map[string]string{"instance.hetzner.cloud/provided-by": "cloud"},
	}, nil
}

func (c *cloud) addresses(server *hcloud.Server) []core.NodeAddress {
	addresses := []core.NodeAddress{{Type: core.NodeHostName, Address: server.Name}}
	if !server.PublicNet.IPv4.IsUnspecified() {
		external := core.NodeAddress{Type: core.NodeExternalIP, Address: server.PublicNet.IPv4.IP.String()}
		addresses = append(addresses, external)
	}
	for _, private := range server.PrivateNet {
		if private.Network.ID == c.network.ID {
			internal := core.NodeAddress{Type: core.NodeInternalIP, Address: private.IP.String()}
			addresses = append(addresses, internal)
		}
	}
	return addresses
}
