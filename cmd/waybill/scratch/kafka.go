package scratch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/waybill-dev/waybill/pipeline"
)

func removeKafka(b pipeline.Broker, n Names) error {
	config, err := kafkaConfig(b)
	if err != nil {
		return err
	}
	addrs := strings.Split(strings.TrimPrefix(b.URL.Reveal(), "kafka://"), ",")
	admin, err := sarama.NewClusterAdmin(addrs, config)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range n.Topics {
		if err := admin.DeleteTopic(name); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("topic %s: %w", name, err))
		}
	}
	for _, name := range n.Subscriptions {
		if err := admin.DeleteConsumerGroup(name); err != nil && !errors.Is(err, sarama.ErrGroupIDNotFound) {
			errs = append(errs, fmt.Errorf("group %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, admin.Close())...)
}

func kafkaConfig(b pipeline.Broker) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = "waybill"
	c.Version = sarama.V2_8_0_0
	if b.TLS.Enabled {
		t, err := tlsConfig(b.TLS)
		if err != nil {
			return nil, err
		}
		c.Net.TLS.Enable, c.Net.TLS.Config = true, t
	}
	if b.SASL.Mechanism == "" {
		return c, nil
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.User, c.Net.SASL.Password = b.SASL.User, b.SASL.Password.Reveal()
	c.Net.SASL.Mechanism = sarama.SASLMechanism(b.SASL.Mechanism)
	c.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
		if c.Net.SASL.Mechanism == sarama.SASLTypeSCRAMSHA256 {
			return &login{hash: scram.SHA256}
		}
		return &login{hash: scram.SHA512}
	}
	return c, nil
}

// login is sarama's shape of a SCRAM login.
type login struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

func (l *login) Begin(user, password, authzID string) error {
	client, err := l.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	l.ClientConversation = client.NewConversation()
	return nil
}
