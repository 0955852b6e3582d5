module sample

go 1.21

require (
	github.com/google/uuid v1.6.0
	github.com/spf13/pflag v1.0.5
	rsc.io/quote v1.5.2
)

require (
	golang.org/x/text v0.14.0 // indirect
	rsc.io/sampler v1.3.0 // indirect
)
