package nat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ipsets asks the kernel about sets of ipset. It opens its socket when the first
// rule refers to one.
type ipsets struct {
	ctx      context.Context
	conn     *nfnetlink
	byIndex  map[uint16]*ipset
	problems map[uint16]error
	has      map[ipsetQuestion]bool
}

type ipsetQuestion struct {
	name string
	key  ipsetKey
}

// Messages of ipset (enum ipset_cmd), and its error for a key that a set does not
// have.
const (
	ipsetCmdList   = unix.NFNL_SUBSYS_IPSET<<8 | 7
	ipsetCmdTest   = unix.NFNL_SUBSYS_IPSET<<8 | 11
	ipsetCmdHeader = unix.NFNL_SUBSYS_IPSET<<8 | 12
	ipsetNotThere  = unix.Errno(4103) // IPSET_ERR_EXIST

	// The version of the conversation that all kernels know.
	ipsetProtocol = 6
)

var errUnreadSet = errors.New("it depends on a set of ipset that can't be read")

func (k *kernel) ipset(index uint16) (*ipset, error) {
	if k.ipsets == nil {
		return nil, errUnreadSet
	}
	return k.ipsets.get(index)
}

func (k *kernel) inSet(s *ipset, key ipsetKey) (bool, error) {
	q := ipsetQuestion{s.name, key}
	if has, asked := k.ipsets.has[q]; asked {
		return has, nil
	}
	if err := k.keep(); err != nil {
		return false, err
	}
	has, err := k.ipsets.test(s, key)
	if err == nil {
		k.ipsets.has[q] = has
	}
	return has, err
}

func (i *ipsets) close() {
	if i.conn != nil {
		i.conn.close()
	}
}

// get returns the set with a number.
func (i *ipsets) get(index uint16) (*ipset, error) {
	if s := i.byIndex[index]; s != nil {
		return s, nil
	}
	if err := i.problems[index]; err != nil {
		return nil, err
	}
	if i.byIndex == nil {
		i.byIndex, i.problems, i.has = map[uint16]*ipset{}, map[uint16]error{}, map[ipsetQuestion]bool{}
	}
	s, err := i.read(index)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnreadSet, err)
		i.problems[index] = err
		return nil, err
	}
	i.byIndex[index] = s
	return s, nil
}

func (i *ipsets) read(index uint16) (*ipset, error) {
	name, err := ipsetName(index)
	if err != nil {
		return nil, err
	}
	if i.conn == nil {
		if i.conn, err = openNfnetlink(i.ctx); err != nil {
			return nil, err
		}
	}
	s, err := i.header(name)
	if err != nil || s.kind != ipsetList {
		return s, err
	}
	names, err := i.members(name)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		member, err := i.header(name)
		if err == nil && member.kind == ipsetList { // the kernel allows none
			err = fmt.Errorf("%w: a list in a list", errBroken)
		}
		if err != nil {
			return nil, err
		}
		s.members = append(s.members, member)
	}
	return s, nil
}

// ipsetAsk returns the attributes of a request about a set.
func ipsetAsk(name string, more ...attribute) []attribute {
	const protocol, setName = 1, 2
	return append([]attribute{{protocol, []byte{ipsetProtocol}}, textAttribute(setName, name)}, more...)
}

func (i *ipsets) header(name string) (*ipset, error) {
	const typeName, family = 3, 5
	message, err := i.conn.get(ipsetCmdHeader, familyIPv4, ipsetAsk(name))
	if err != nil {
		return nil, err
	}
	_, a, err := decodeHeader(message)
	s := &ipset{name: name, kind: a.text(typeName), family: uint8(a.number(family))}
	if err == nil && s.kind == bitmapPort {
		s.ports, err = i.elements(name)
		s.ports = max(s.ports, 1) // Linux before 4.10 does not say
	}
	return s, err
}

// elements returns how many elements a set has.
func (i *ipsets) elements(name string) (n uint32, err error) {
	const flags, data, count, listHeader = 6, 7, 24, 4 // IPSET_FLAG_LIST_HEADER
	ask := ipsetAsk(name, attribute{flags | networkOrder, binary.BigEndian.AppendUint32(nil, listHeader)})
	err = i.conn.dump(ipsetCmdList, familyIPv4, ask, func(message []byte) error {
		_, a, err := decodeHeader(message)
		if err != nil {
			return err
		}
		header, err := parseAttributes(a[data])
		n = header.number(count)
		return err
	})
	return n, err
}

// members returns the names of the sets in a list.
func (i *ipsets) members(list string) ([]string, error) {
	const setName, data, name = 2, 8, 18
	var names []string
	err := i.conn.dump(ipsetCmdList, familyIPv4, ipsetAsk(list), func(message []byte) error {
		_, a, err := decodeHeader(message)
		if err != nil || a.text(setName) != list {
			return err
		}
		return eachAttribute(a[data], func(_ uint16, value []byte) error {
			member, err := parseAttributes(value)
			if err == nil && member[name] == nil {
				err = errBroken
			}
			names = append(names, member.text(name))
			return err
		})
	})
	return names, err
}

// test asks whether a set has a key. To the kernel, every key that is not of the
// set's kind is one that it does not have.
func (i *ipsets) test(s *ipset, key ipsetKey) (bool, error) {
	const data = 7
	parts, _ := s.parts()
	err := i.conn.do(ipsetCmdTest, familyIPv4, ipsetAsk(s.name, nest(data, key.attributes(parts)...)))
	if err != nil && !errors.Is(err, ipsetNotThere) {
		return false, fmt.Errorf("%w: %w", errUnreadSet, err)
	}
	return err == nil, nil
}

// ipsetName returns the name of the set with a number, which rules contain.
func ipsetName(index uint16) (string, error) {
	const soIPSet, getByIndex, nameLength = 83, 7, 32
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", &Unreadable{Op: "socket", Err: err}
	}
	defer unix.Close(fd)
	var b [8 + nameLength]byte // struct ip_set_req_get_set
	binary.NativeEndian.PutUint32(b[:], getByIndex)
	binary.NativeEndian.PutUint32(b[4:], ipsetProtocol)
	binary.NativeEndian.PutUint16(b[8:], index)
	if err := getsockopt(fd, unix.SOL_IP, soIPSet, b[:]); err != nil {
		return "", &Unreadable{Op: "getsockopt(SO_IP_SET)", Err: err}
	}
	name, _, _ := bytes.Cut(b[8:], []byte{0})
	if len(name) == 0 {
		return "", unix.ENOENT
	}
	return string(name), nil
}
