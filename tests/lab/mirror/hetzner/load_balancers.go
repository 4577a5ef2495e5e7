package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	core "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/service/helpers"
)

// serviceLabel is how upstream finds a Service's load balancer again.
const serviceLabel = "hcloud-ccm/service-uid"

func (c *cloud) GetLoadBalancerName(_ context.Context, _ string, service *core.Service) string {
	return cloudprovider.DefaultLoadBalancerName(service)
}

func (c *cloud) GetLoadBalancer(
	ctx context.Context, _ string, service *core.Service,
) (*core.LoadBalancerStatus, bool, error) {
	balancer, err := c.loadBalancer(ctx, service)
	if err != nil || balancer == nil {
		return nil, false, err
	}
	return status(balancer), true, nil
}

func (c *cloud) EnsureLoadBalancer(
	ctx context.Context, cluster string, service *core.Service, nodes []*core.Node,
) (*core.LoadBalancerStatus, error) {
	balancer, err := c.loadBalancer(ctx, service)
	if err != nil {
		return nil, err
	}
	if balancer == nil {
		if err := c.create(ctx, c.GetLoadBalancerName(ctx, cluster, service), service); err != nil {
			return nil, err
		}
	}
	if err := c.UpdateLoadBalancer(ctx, cluster, service, nodes); err != nil {
		return nil, err
	}
	if balancer, err = c.loadBalancer(ctx, service); err != nil {
		return nil, err
	}
	return status(balancer), nil
}

func (c *cloud) UpdateLoadBalancer(ctx context.Context, _ string, service *core.Service, nodes []*core.Node) error {
	balancer, err := c.loadBalancer(ctx, service)
	if err != nil || balancer == nil {
		return err
	}
	if err := c.reconcileServices(ctx, balancer, service); err != nil {
		return err
	}
	return c.reconcileTargets(ctx, balancer, nodes)
}

func (c *cloud) EnsureLoadBalancerDeleted(ctx context.Context, _ string, service *core.Service) error {
	balancer, err := c.loadBalancer(ctx, service)
	if err != nil || balancer == nil {
		return err
	}
	_, err = c.client.LoadBalancer.Delete(ctx, balancer)
	return err
}

// loadBalancer is the Service's, nil when it has none.
func (c *cloud) loadBalancer(ctx context.Context, service *core.Service) (*hcloud.LoadBalancer, error) {
	selector := fmt.Sprintf("%s=%s", serviceLabel, service.UID)
	found, err := c.client.LoadBalancer.AllWithOpts(
		ctx, hcloud.LoadBalancerListOpts{ListOpts: hcloud.ListOpts{LabelSelector: selector}},
	)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

func (c *cloud) create(ctx context.Context, name string, service *core.Service) error {
	made, _, err := c.client.LoadBalancer.Create(ctx, hcloud.LoadBalancerCreateOpts{
		Name:             name,
		LoadBalancerType: &hcloud.LoadBalancerType{Name: "lb11"},
		Location:         &hcloud.Location{Name: c.location},
		Network:          c.network,
		Labels:           map[string]string{serviceLabel: string(service.UID)},
	})
	if err != nil {
		return err
	}
	return c.client.Action.WaitFor(ctx, made.Action)
}

func (c *cloud) reconcileServices(ctx context.Context, balancer *hcloud.LoadBalancer, service *core.Service) error {
	existing := map[int]hcloud.LoadBalancerService{}
	for _, entry := range balancer.Services {
		existing[entry.ListenPort] = entry
	}
	for _, port := range service.Spec.Ports {
		if port.Protocol != core.ProtocolTCP {
			return fmt.Errorf("port %d is %s, and Hetzner's load balancers know TCP only", port.Port, port.Protocol)
		}
		entry, found := existing[int(port.Port)]
		delete(existing, int(port.Port))
		if found && entry.DestinationPort == int(port.NodePort) && entry.HealthCheck.Port == healthPort(service, port) {
			continue
		}
		if found {
			if err := c.deleteService(ctx, balancer, entry.ListenPort); err != nil {
				return err
			}
		}
		if err := c.addService(ctx, balancer, service, port); err != nil {
			return err
		}
	}
	for listenPort := range existing {
		if err := c.deleteService(ctx, balancer, listenPort); err != nil {
			return err
		}
	}
	return nil
}

func (c *cloud) addService(
	ctx context.Context, balancer *hcloud.LoadBalancer, service *core.Service, port core.ServicePort,
) error {
	action, _, err := c.client.LoadBalancer.AddService(ctx, balancer, hcloud.LoadBalancerAddServiceOpts{
		Protocol:        hcloud.LoadBalancerServiceProtocolTCP,
		ListenPort:      hcloud.Ptr(int(port.Port)),
		DestinationPort: hcloud.Ptr(int(port.NodePort)),
		Proxyprotocol:   hcloud.Ptr(false),
		HealthCheck:     healthCheck(service, port),
	})
	if err != nil {
		return err
	}
	return c.client.Action.WaitFor(ctx, action)
}

func (c *cloud) deleteService(ctx context.Context, balancer *hcloud.LoadBalancer, listenPort int) error {
	action, _, err := c.client.LoadBalancer.DeleteService(ctx, balancer, listenPort)
	if err != nil {
		return err
	}
	return c.client.Action.WaitFor(ctx, action)
}

func (c *cloud) reconcileTargets(ctx context.Context, balancer *hcloud.LoadBalancer, nodes []*core.Node) error {
	existing := map[int64]bool{}
	for _, target := range balancer.Targets {
		if target.Type == hcloud.LoadBalancerTargetTypeServer {
			existing[target.Server.Server.ID] = true
		}
	}
	for _, node := range nodes {
		id, err := serverID(node)
		if err != nil {
			return err
		}
		if existing[id] {
			delete(existing, id)
			continue
		}
		action, _, err := c.client.LoadBalancer.AddServerTarget(ctx, balancer, hcloud.LoadBalancerAddServerTargetOpts{
			Server: &hcloud.Server{ID: id}, UsePrivateIP: &c.usePrivateIP,
		})
		if err != nil {
			return err
		}
		if err := c.client.Action.WaitFor(ctx, action); err != nil {
			return err
		}
	}
	for id := range existing {
		action, _, err := c.client.LoadBalancer.RemoveServerTarget(ctx, balancer, &hcloud.Server{ID: id})
		if err != nil {
			return err
		}
		if err := c.client.Action.WaitFor(ctx, action); err != nil {
			return err
		}
	}
	return nil
}

// healthPort answers on the nodes that can serve: kube-proxy's own port when only nodes with a pod may be asked.
func healthPort(service *core.Service, port core.ServicePort) int {
	if helpers.NeedsHealthCheck(service) {
		return int(service.Spec.HealthCheckNodePort)
	}
	return int(port.NodePort)
}

func healthCheck(service *core.Service, port core.ServicePort) *hcloud.LoadBalancerAddServiceOptsHealthCheck {
	check := &hcloud.LoadBalancerAddServiceOptsHealthCheck{
		Protocol: hcloud.LoadBalancerServiceProtocolTCP,
		Port:     hcloud.Ptr(healthPort(service, port)),
		// The shortest that the API takes: tests wait for it.
		Interval: hcloud.Ptr(3 * time.Second),
		Timeout:  hcloud.Ptr(2 * time.Second),
		Retries:  hcloud.Ptr(1),
	}
	if helpers.NeedsHealthCheck(service) {
		check.Protocol = hcloud.LoadBalancerServiceProtocolHTTP
		check.HTTP = &hcloud.LoadBalancerAddServiceOptsHealthCheckHTTP{
			Path: hcloud.Ptr("/healthz"), StatusCodes: []string{"200"}, TLS: hcloud.Ptr(false),
		}
	}
	return check
}

func status(balancer *hcloud.LoadBalancer) *core.LoadBalancerStatus {
	ingress := []core.LoadBalancerIngress{}
	if balancer.PublicNet.Enabled {
		ingress = append(ingress, core.LoadBalancerIngress{IP: balancer.PublicNet.IPv4.IP.String()})
	}
	for _, private := range balancer.PrivateNet {
		ingress = append(ingress, core.LoadBalancerIngress{IP: private.IP.String()})
	}
	return &core.LoadBalancerStatus{Ingress: ingress}
}
