// Command hcloud-cloud-controller-manager stands in for Hetzner's cloud controller manager, whose image cannot be had
// without the internet. It is Kubernetes' own framework for cloud controllers with a small cloud of ours in it: same
// flags, environment variables and errors at start as upstream's, real calls of Hetzner's API by its own client.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"k8s.io/apimachinery/pkg/util/wait"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/app"
	"k8s.io/cloud-provider/app/config"
	"k8s.io/cloud-provider/names"
	"k8s.io/cloud-provider/options"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/cli/flag"
	"k8s.io/klog/v2"
)

const providerName = "hcloud"

type cloud struct {
	client *hcloud.Client
	// network carries the nodes' internal addresses.
	network *hcloud.Network
	// location is where load balancers are made.
	location string
	// usePrivateIP makes load balancers reach nodes by their internal address.
	usePrivateIP bool
}

func main() {
	defaults, err := options.NewCloudControllerManagerOptions()
	if err != nil {
		klog.Fatalf("the options have no defaults: %v", err)
	}
	command := app.NewCloudControllerManagerCommand(
		defaults, start, app.DefaultInitFuncConstructors, names.CCMControllerAliases(), flag.NamedFlagSets{}, wait.NeverStop,
	)
	os.Exit(cli.Run(command))
}

func start(config *config.CompletedConfig) cloudprovider.Interface {
	wanted := config.ComponentConfig.KubeCloudShared
	cloudprovider.RegisterCloudProvider(providerName, func(io.Reader) (cloudprovider.Interface, error) {
		return newCloud(context.Background())
	})
	provider, err := cloudprovider.InitCloudProvider(wanted.CloudProvider.Name, wanted.CloudProvider.CloudConfigFile)
	if err != nil {
		klog.Fatalf("Cloud provider could not be initialized: %v", err)
	}
	if !wanted.AllowUntaggedCloud {
		klog.Fatalf("no ClusterID found: --allow-untagged-cloud is needed")
	}
	return provider
}

func newCloud(ctx context.Context) (*cloud, error) {
	token := os.Getenv("HCLOUD_TOKEN")
	// Upstream's own check: whatever else is used as a token in tests would not work with it.
	if len(token) != 64 {
		return nil, fmt.Errorf("entered token is invalid (must be exactly 64 characters long)")
	}
	if os.Getenv("HCLOUD_NETWORK_ROUTES_ENABLED") != "false" {
		return nil, fmt.Errorf("this stand-in has no routes: HCLOUD_NETWORK_ROUTES_ENABLED has to be false")
	}
	settings := []hcloud.ClientOption{hcloud.WithToken(token), hcloud.WithApplication("cloud-controller-stand-in", "")}
	if endpoint := os.Getenv("HCLOUD_ENDPOINT"); endpoint != "" {
		settings = append(settings, hcloud.WithEndpoint(endpoint))
	}
	client := hcloud.NewClient(settings...)
	network, _, err := client.Network.Get(ctx, os.Getenv("HCLOUD_NETWORK"))
	if err != nil {
		return nil, fmt.Errorf("hcloud/newCloud: %w", err)
	}
	if network == nil {
		return nil, fmt.Errorf("hcloud/newCloud: Network %s not found", os.Getenv("HCLOUD_NETWORK"))
	}
	return &cloud{
		client:       client,
		network:      network,
		location:     os.Getenv("HCLOUD_LOAD_BALANCERS_LOCATION"),
		usePrivateIP: os.Getenv("HCLOUD_LOAD_BALANCERS_USE_PRIVATE_IP") == "true",
	}, nil
}

func (c *cloud) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}
func (c *cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool)                  { return c, true }
func (c *cloud) Instances() (cloudprovider.Instances, bool)                        { return nil, false }
func (c *cloud) InstancesV2() (cloudprovider.InstancesV2, bool)                    { return c, true }
func (c *cloud) Zones() (cloudprovider.Zones, bool)                                { return nil, false }
func (c *cloud) Clusters() (cloudprovider.Clusters, bool)                          { return nil, false }
func (c *cloud) Routes() (cloudprovider.Routes, bool)                              { return nil, false }
func (c *cloud) ProviderName() string                                              { return providerName }
func (c *cloud) HasClusterID() bool                                                { return false }
