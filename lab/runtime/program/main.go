// What runtimes ask of CNI besides ADD and DEL, by the library that they share (libcni): CRI-O collects garbage at its start
// so, containerd 2 asks for the status whenever it is asked for its own.
//
//	cni-verbs status CONFLIST
//	cni-verbs gc CONFLIST [CONTAINER/INTERFACE...]    those that are alive
//	cni-verbs check CONFLIST                          all that the library's cache knows
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func main() {
	if err := perform(os.Args[1:]); err != nil {
		var refusal *types.Error
		if errors.As(err, &refusal) {
			fmt.Fprintf(os.Stderr, "code %d: ", refusal.Code)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func perform(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: cni-verbs status|gc|check CONFLIST [CONTAINER/INTERFACE...]")
	}
	list, err := libcni.NetworkConfFromFile(args[1])
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfig([]string{"/opt/cni/bin"}, nil)
	ctx := context.Background()
	switch args[0] {
	case "status":
		return cni.GetStatusNetworkList(ctx, list)
	case "gc":
		alive := []types.GCAttachment{}
		for _, name := range args[2:] {
			container, ifname, _ := strings.Cut(name, "/")
			alive = append(alive, types.GCAttachment{ContainerID: container, IfName: ifname})
		}
		return cni.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: alive})
	case "check":
		return check(ctx, cni, list)
	}
	return fmt.Errorf("unknown verb %s", args[0])
}

func check(ctx context.Context, cni *libcni.CNIConfig, list *libcni.NetworkConfigList) error {
	attachments, err := cni.GetCachedAttachments("")
	if err != nil {
		return err
	}
	for _, attachment := range attachments {
		if attachment.Network != list.Name {
			continue
		}
		container := &libcni.RuntimeConf{
			ContainerID: attachment.ContainerID,
			NetNS:       attachment.NetNS,
			IfName:      attachment.IfName,
			Args:        attachment.CniArgs,
		}
		if err := cni.CheckNetworkList(ctx, list, container); err != nil {
			return fmt.Errorf("%s: %w", attachment.ContainerID, err)
		}
		fmt.Println(attachment.ContainerID)
	}
	return nil
}
