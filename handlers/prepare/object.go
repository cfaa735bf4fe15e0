package prepare

import "github.com/waybill-dev/waybill/handlers/rule"

// object is the members of an object that a walk has met so far.
type object struct {
	members []rule.Member
	traits  uint64              // of their names, a bit each: what has a new one is new
	lookup  map[string]struct{} // their names, once they are many
}

// fewMembers is up to how many comparing names one by one is the faster way.
const fewMembers = 32

func (o *object) reset() {
	clear(o.members)
	o.members, o.traits, o.lookup = o.members[:0], 0, nil
}

// add takes a member. fresh is false if the object had its name before.
func (o *object) add(name, raw []byte) (fresh bool) {
	trait := traitOf(name)
	fresh = o.traits&trait == 0 || !o.has(name)
	o.traits |= trait
	o.members = append(o.members, rule.Member{Name: name, Raw: raw})
	switch {
	case o.lookup != nil:
		o.lookup[string(name)] = struct{}{}
	case len(o.members) == fewMembers:
		o.index()
	}
	return fresh
}

// traitOf returns one of 64 bits that tells most names apart.
func traitOf(name []byte) uint64 {
	if len(name) == 0 {
		return 1
	}
	return 1 << ((uint(len(name))*7 + uint(name[0])*5 + uint(name[len(name)-1])) % 64)
}

func (o *object) has(name []byte) bool {
	if o.lookup != nil {
		_, known := o.lookup[string(name)]
		return known
	}
	for i := range o.members {
		if string(o.members[i].Name) == string(name) {
			return true
		}
	}
	return false
}

func (o *object) index() {
	o.lookup = make(map[string]struct{}, 2*fewMembers)
	for i := range o.members {
		o.lookup[string(o.members[i].Name)] = struct{}{}
	}
}
