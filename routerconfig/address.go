package routerconfig

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// addressError says what is wrong with an address, without a value.
type addressError string

func (e addressError) Error() string { return string(e) }

// splitAddress returns the host of HOST:PORT, if the port is a number from
// lowest to 65535.
func splitAddress(address string, lowest int) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.ContainsAny(host, "/@?# ") {
		return "", addressError("this is not an address with a port")
	}
	return host, checkPort(port, lowest)
}

func checkPort(port string, lowest int) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || int(n) < lowest {
		return addressError("the port is not a number from " + strconv.Itoa(lowest) + " to 65535")
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// checkURL holds an address to a URL with one of the schemes, a host, and no
// port that there is not.
func (c *checker) checkURL(p pointer, address serverURL, fix string, schemes ...string) *url.URL {
	u, err := address.parse()
	switch {
	case err != nil:
		c.errorf(p, "write %40 for @ and %25 for % in a password, or give host, user and password as keys of their own", "%v", err)
	case !slices.Contains(schemes, u.Scheme):
		c.errorf(p, fix, "it does not start with %s://", strings.Join(schemes, ":// or "))
	case u.Hostname() == "":
		c.errorf(p, fix, "it names no host")
	case u.Port() != "" && checkPort(u.Port(), 1) != nil:
		c.errorf(p, fix, "%v", checkPort(u.Port(), 1))
	case u.Fragment != "":
		c.errorf(p, "write %23 for # in a password", "everything after # is not part of the address")
	default:
		return u
	}
	return nil
}
