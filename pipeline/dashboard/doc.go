// Package dashboard is Waybill's HTTP surface: health, metrics and the JSON
// API, as one http.Handler that can be mounted behind anything.
//
// GET /ping says that the process lives, GET /ready that the pipeline works
// (503 names what does not), GET /metrics is for Prometheus. The API is under
// /api/v1 and describes itself in /api/v1/openapi.yaml. The same handler
// serves the socket in the data folder, which the command line uses, and the
// TCP listener, which asks for the bearer token where one is set.
package dashboard
