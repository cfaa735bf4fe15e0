package storetest

import "github.com/waybill-dev/waybill/pipeline/store"

// Indexed has filters of dead letters that must not read all of them. Drivers
// test that by the plan that their database makes.
func Indexed() []store.Filter {
	handler := store.Is(store.FieldHandler, "prepare")
	return []store.Filter{
		handler,
		store.Is(store.FieldMessage, "m-7"),
		store.Is(store.FieldState, string(store.Archived)),
		store.And(handler, store.Is(store.FieldFingerprint, "f-1")),
		store.And(store.Not(store.Is(store.FieldKey, "k-1")), store.Is(store.FieldMessage, "m-7")),
	}
}
