// Package jobs turns templates of a source of work into jobs, and keeps those
// that shares may still come for. It knows whom a block pays and when work is
// renewed; it knows neither miners nor what becomes of a block.
package jobs
