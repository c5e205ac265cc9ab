//go:build tools

// What is built from this module: flannel's CNI plugin, on the CNI library that its present releases are built on.
package main

import (
	_ "github.com/containernetworking/cni/pkg/version"
	_ "github.com/containernetworking/plugins/plugins/meta/flannel"
)
