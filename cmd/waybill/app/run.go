package app

import (
	"github.com/spf13/cobra"
)

func (c *cli) runCommand() *cobra.Command {
	var seeds []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the pipeline",
		Long: "Runs the pipeline until SIGTERM or Ctrl-C: then it takes no new messages, finishes those in hand within\n" +
			"shutdown_timeout, and exits with 0, or with 1 if some did not finish; those stay with their broker.\n" +
			"A second signal cuts the wait short. A broker that is away is waited for; /ready says so.",
		Example: "  waybill run --config waybill.yaml\n" +
			"  waybill run --set handlers.prepare.concurrency=8 --set http.listen=off\n" +
			"  waybill run --seed orders-in=orders.jsonl",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			feed, err := parseSeeds(seeds)
			if err != nil {
				return exit(exitUsage, err)
			}
			return c.run(cmd, feed)
		},
	}
	c.configFlags(cmd)
	cmd.Flags().StringArrayVar(&seeds, "seed", nil, "topic=FILE: publish the file's lines, if the topic never had a message")
	return cmd
}

func (c *cli) run(cmd *cobra.Command, feed []seed) error {
	c.interrupts.graceful()
	log, err := c.logger()
	if err != nil {
		return err
	}
	loaded, err := c.load()
	if err != nil {
		return err
	}
	for _, w := range loaded.Warnings {
		log.Warn(w.String())
	}
	opts := c.opts
	opts.Log = log
	log.Info("waybill "+Version()+" is starting", "config", c.config, "config_version", loaded.Pipeline.Version)
	a, err := New(loaded.Pipeline, opts)
	if err != nil {
		return exit(exitFailure, err)
	}
	a.seeds = feed
	return exit(exitFailure, a.Run(cmd.Context(), c.hurry))
}
