package handlers

import (
	"github.com/waybill-dev/waybill/handlers/email"
	"github.com/waybill-dev/waybill/handlers/generic"
	"github.com/waybill-dev/waybill/handlers/httpcall"
	"github.com/waybill-dev/waybill/handlers/notify"
	"github.com/waybill-dev/waybill/handlers/prepare"
	"github.com/waybill-dev/waybill/handlers/process"
	"github.com/waybill-dev/waybill/handlers/stages"
	"github.com/waybill-dev/waybill/pipeline"
)

// Builtin returns the kinds that come with Waybill.
func Builtin() pipeline.Kinds {
	return pipeline.NewKinds(
		prepare.Kind(),
		process.Kind(),
		email.Kind(),
		httpcall.Kind(),
		notify.Kind(),
		stages.Kind(),
		generic.Map(),
		generic.Filter(),
		generic.Route(),
	)
}
