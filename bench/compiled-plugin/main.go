// What a compiled CNI plugin `flannel` costs: the same work as the script's, with the library that such plugins are made of.
// A counterpart for the benchmark only.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

type configuration struct {
	types.NetConf
	SubnetFile string                 `json:"subnetFile"`
	DataDir    string                 `json:"dataDir"`
	Delegate   map[string]interface{} `json:"delegate"`
	IPAM       map[string]interface{} `json:"ipam"`
}

func readSubnetFile(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	values := map[string]string{}
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if key, value, found := strings.Cut(scanner.Text(), "="); found {
			values[key] = value
		}
	}
	return values, nil
}

func masked(subnet string) string {
	return subnet[:strings.LastIndex(subnet, ".")] + ".0/24" // as the benchmark's
}

func add(args *skel.CmdArgs) error {
	var config configuration
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return err
	}
	values, err := readSubnetFile(config.SubnetFile)
	if err != nil {
		return err
	}
	mtu, err := strconv.Atoi(values["FLANNEL_MTU"])
	if err != nil {
		return err
	}
	delegate := config.Delegate
	delegate["name"], delegate["type"], delegate["cniVersion"] = config.Name, "bridge", config.CNIVersion
	delegate["mtu"], delegate["isGateway"], delegate["ipMasq"] = mtu, true, values["FLANNEL_IPMASQ"] != "true"
	config.IPAM["type"] = "host-local"
	config.IPAM["ranges"] = [][]map[string]string{{{"subnet": masked(values["FLANNEL_SUBNET"])}}}
	config.IPAM["routes"] = []map[string]string{{"dst": values["FLANNEL_NETWORK"]}}
	delegate["ipam"] = config.IPAM
	text, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config.DataDir, args.ContainerID), text, 0o600); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.TODO(), "bridge", text, nil)
	if err != nil {
		return err
	}
	return types.PrintResult(result, config.CNIVersion)
}

func del(args *skel.CmdArgs) error {
	var config configuration
	if err := json.Unmarshal(args.StdinData, &config); err != nil {
		return err
	}
	path := filepath.Join(config.DataDir, args.ContainerID)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("no scratch file: %w", err)
	}
	if err := invoke.DelegateDel(context.TODO(), "bridge", text, nil); err != nil {
		return err
	}
	return os.Remove(path)
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del}, version.All, "compiled counterpart")
}
