package brokertest

import "testing"

// Exercise proves every guarantee on the broker of h. The whole takes about a
// minute and a half with the race detector on two cores; -short shrinks
// Watermill's part of it. Single guarantees run by
//
//	go test -run 'TestConformance/Guarantees/DrainKeepsWhatIsDone'
func Exercise(t *testing.T, h Harness) {
	h.check(t)
	t.Run("Universal", func(t *testing.T) { universal(t, h) })
	t.Run("Guarantees", func(t *testing.T) {
		for _, g := range guarantees(h) {
			t.Run(g.name, func(t *testing.T) {
				t.Parallel()
				g.run(newFixture(t, h))
			})
		}
	})
	if h.Node != nil {
		t.Run("Node", func(t *testing.T) { exerciseNode(t, h) })
	}
}

// guarantee is one test of the suite.
type guarantee struct {
	name string
	run  func(*fixture)
}

// guarantees lists what applies to the broker of h.
func guarantees(h Harness) []guarantee {
	all := []guarantee{
		// consume
		{"InFlightIsBoundedByCount", inFlightIsBoundedByCount},
		{"InFlightIsBoundedByBytes", inFlightIsBoundedByBytes},
		{"ConcurrencyIsReached", concurrencyIsReached},
		{"NackPausesAndBlocksNoOther", nackPausesAndBlocksNoOther},
		{"SlowAndPoisonHoldUpNobody", slowAndPoisonHoldUpNobody},
		{"PauseAndResume", pauseAndResume},
		// order
		{"OrderPerKey", orderPerKey},
		{"KeysRunSideBySide", keysRunSideBySide},
		{"OrderPerKeySurvivesTakeovers", orderPerKeySurvivesTakeovers},
		{"OrderOfPartition", orderOfPartition},
		// acknowledge
		{"OnlyWhatIsOpenComesAgain", onlyWhatIsOpenComesAgain},
		{"DrainKeepsWhatIsDone", drainKeepsWhatIsDone},
		{"DrainWaitsForHandlers", drainWaitsForHandlers},
		{"DrainGivesBackInTime", drainGivesBackInTime},
		{"CloseWithBacklog", closeWithBacklog},
		// publish
		{"ConfirmedIsDurable", confirmedIsDurable},
		{"MessagesArriveAsSent", messagesArriveAsSent},
		{"UnknownTopicIsAnError", unknownTopicIsAnError},
		{"UnprovisionedTopicLosesNothing", unprovisionedTopicLosesNothing},
		{"TooLargeIsAnErrorOfItsOwn", tooLargeIsAnErrorOfItsOwn},
		{"ExpiredContextIsATimeout", expiredContextIsATimeout},
		{"CloseWhilePublishing", closeWhilePublishing},
		{"StartedIsToldOnce", startedIsToldOnce},
		{"CloseTellsWhatWasStarted", closeTellsWhatWasStarted},
		// administer
		{"ProvisionIsIdempotent", provisionIsIdempotent},
		{"VerifyFindsWhatIsMissing", verifyFindsWhatIsMissing},
		{"StartNewest", startNewest},
		{"TailNewestDisturbsNobody", tailNewestDisturbsNobody},
		{"TailOldestShowsWhatIsThere", tailOldestShowsWhatIsThere},
		{"InspectCounts", inspectCounts},
		{"CommitIsOneStep", commitIsOneStep(commit)},
		{"StartedCommitIsOneStep", commitIsOneStep(startCommit)},
	}
	add := func(applies bool, name string, run func(*fixture)) {
		if applies {
			all = append(all, guarantee{name, run})
		}
	}
	add(!h.Features.OneReader, "InstancesShareWork", instancesShareWork)
	add(h.Features.Log, "StartOldest", startOldest)
	add(h.Features.Log, "StartAtATime", startAtATime)
	add(h.Features.MaxMessage > 0, "BrokersOwnLimitIsTooLarge", brokersOwnLimitIsTooLarge)
	add(h.Drifted != nil, "VerifyFindsDrift", verifyFindsDrift)
	add(h.Cut != nil, "RecoversFromACutQueue", recoversFromACutQueue)
	add(h.PublishRaw != nil, "ForeignMessagesHaveStableIDs", foreignMessagesHaveStableIDs)
	add(h.ReadRaw != nil, "TypedHeadersSurviveARoundTrip", typedHeadersSurviveARoundTrip)
	add(h.PublishUndecodable != nil, "UndecodableArrivesAsBytes", undecodableArrivesAsBytes)
	add(h.StockPublisher != nil, "ReadsStockPublisher", readsStockPublisher)
	add(h.StockSubscriber != nil, "IsReadByStockSubscriber", isReadByStockSubscriber)
	return all
}
