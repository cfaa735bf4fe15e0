package generic

import (
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// appendFault adds err, if it is one, as the fault of the key at pointer.
func appendFault(faults []error, pointer string, err error) []error {
	if err == nil {
		return faults
	}
	return append(faults, &pipeline.FieldError{Pointer: pointer, Err: err})
}

// escape makes one token of a JSON Pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
