package prove

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
)

// storeEnv has this test binary tell what is in a store, and write to it until
// it is killed.
const storeEnv = "PROVE_STORE"

// holdStore is that process.
func holdStore(path string) {
	ctx := context.Background()
	s, err := sqlitestore.Open(ctx, path, store.Options{})
	giveUp(err)
	giveUp(tell(ctx, s))
	fmt.Println("writing")
	var writing sync.WaitGroup
	for w := range 4 {
		writing.Go(func() {
			for n := 0; ; n++ {
				name := fmt.Sprintf("%d-%d-%d", os.Getpid(), w, n)
				giveUp(s.Do(ctx,
					s.Bury(store.DeadLetter{Handler: "h", Message: name, Copy: "1", Content: store.Content{Payload: make([]byte, 300)}}),
					s.FinishReceipt(store.Receipt{ReceiptKey: store.ReceiptKey{Subject: name, Effect: "h"}}),
					s.Delay(store.DelayedMessage{Handler: "h", Message: name})))
				fmt.Println("put", name)
				giveUp(s.AppendLog(ctx, []store.LogEntry{{Handler: "h", Message: name, State: store.Completed, At: time.Now()}}))
			}
		})
	}
	writing.Wait()
}

// tell prints what is there, by the delayed messages and by the letters.
func tell(ctx context.Context, s store.Store) error {
	parts := make(map[string]int)
	for after := int64(0); ; {
		page, err := s.DelayedMessages(ctx, "h", after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, m := range page {
			parts[m.Message]++
			after = m.ID
		}
		if len(page) == 0 {
			break
		}
	}
	for q := (store.LetterQuery{Limit: store.MaxPage, Bare: true}); ; {
		page, err := s.Letters(ctx, q)
		if err != nil {
			return err
		}
		for _, l := range page.Letters {
			parts[l.Message]++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for name, n := range parts {
		r, err := s.Receipt(ctx, store.ReceiptKey{Subject: name, Effect: "h"})
		if err != nil {
			return err
		}
		if n == 2 && r.State == store.Done {
			fmt.Println("whole", name)
		} else {
			fmt.Println("torn", name)
		}
	}
	_, err := s.SearchLog(ctx, store.LogQuery{Limit: store.MaxPage}) // what it may have lost does not keep it from being read
	return err
}

func giveUp(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}
