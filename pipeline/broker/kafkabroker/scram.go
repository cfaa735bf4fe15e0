package kafkabroker

import (
	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// scramClient is sarama's shape of a SCRAM login.
type scramClient struct {
	hash         scram.HashGeneratorFcn
	conversation *scram.ClientConversation
}

func newSCRAMSHA256() sarama.SCRAMClient { return &scramClient{hash: scram.SHA256} }
func newSCRAMSHA512() sarama.SCRAMClient { return &scramClient{hash: scram.SHA512} }

// Begin starts the login of a connection.
func (c *scramClient) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err != nil {
		return err
	}
	c.conversation = client.NewConversation()
	return nil
}

// Step answers the broker's challenge.
func (c *scramClient) Step(challenge string) (string, error) { return c.conversation.Step(challenge) }

// Done reports whether the login is over.
func (c *scramClient) Done() bool { return c.conversation.Done() }
