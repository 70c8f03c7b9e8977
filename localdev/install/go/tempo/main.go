// Command tempo starts Tempo as a single binary, as its own main does, less the tracers and with a stop that ends.
//
// It exists since Tempo 1.5's gRPC messages embed gogo custom types, which only its own codec can (un)marshal. That codec is registered in an init, and so is
// gRPC's standard one under the same name; the last one wins, and since Go 1.21 sorts inits by import path the last is gRPC's: the stock binary panics on the first push.
// The init of package main always runs last.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	gogoproto "github.com/gogo/protobuf/proto"
	"github.com/grafana/tempo/cmd/tempo/app"
	"github.com/grafana/tempo/pkg/util/log"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v2"
)

// codec marshals messages of the current protobuf API by it, and all others (Tempo's, Jaeger's, the receiver's) by gogo.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(value any) ([]byte, error) {
	if message, ok := value.(proto.Message); ok {
		return proto.Marshal(message)
	}
	return gogoproto.Marshal(value.(gogoproto.Message))
}

func (codec) Unmarshal(data []byte, value any) error {
	if message, ok := value.(proto.Message); ok {
		return proto.Unmarshal(data, message)
	}
	return gogoproto.Unmarshal(data, value.(gogoproto.Message))
}

func init() {
	encoding.RegisterCodec(codec{})
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "tempo:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("tempo", flag.ContinueOnError)
	file := flags.String("config.file", "", "Configuration file to load")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	config, err := load(*file)
	if err != nil {
		return err
	}
	log.InitLogger(&config.Server)
	tempo, err := app.New(*config)
	if err != nil {
		return err
	}
	go leaveSoon()
	return tempo.Run()
}

// leaveSoon ends the process 3 s after it was told to stop. Tempo itself stops its ingester at once, which writes what it holds to the write-ahead log, and then sleeps
// 30 s for the sake of a load balancer that isn't there.
func leaveSoon() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	<-told
	time.Sleep(3 * time.Second)
	os.Exit(0)
}

// load reads the file over Tempo's defaults, with the in-memory rings that a single binary needs.
func load(file string) (*app.Config, error) {
	config := &app.Config{}
	config.RegisterFlagsAndApplyDefaults("", flag.NewFlagSet("", flag.ContinueOnError))
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(text, config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	config.Ingester.LifecyclerConfig.RingConfig.KVStore.Store = "inmemory"
	config.Ingester.LifecyclerConfig.RingConfig.ReplicationFactor = 1
	config.Ingester.LifecyclerConfig.Addr = "127.0.0.1"
	config.Generator.Ring.KVStore.Store = "inmemory"
	config.Generator.Ring.InstanceAddr = "127.0.0.1"
	config.CheckConfig()
	return config, nil
}
