// CoreDNS with the plugins that the lab's cluster needs. agnhost and the test program of k8s.io/kubernetes/test/e2e are
// built from this module as well: tools.go names them, so that go.sum has what they need.
package main

import (
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"

	"github.com/coredns/coredns/coremain"
)

func main() {
	coremain.Run()
}
