package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// desk is dead letters in a store, on which nobody runs: requests go through
// the API in this process, as the commands' do.
type desk struct {
	*stand
	api   *api
	close func()
}

// stores are the `store:` lines of each kind of store.
func stores(t *testing.T) map[string]string {
	all := map[string]string{"sqlite": ""}
	if !testing.Short() {
		all["postgres"] = fmt.Sprintf("store: {url: %q}\n", storetest.Schema(t))
	}
	return all
}

// newDesk buries n letters in a store: their messages are m-0 and so on, of
// three groups.
func newDesk(t *testing.T, storeLine string, n int) *desk {
	t.Helper()
	d := &desk{stand: prepareStand(t, unique(fmt.Sprintf(passing, "main: {driver: embedded}", failingWith))+storeLine)}
	c := &cli{opts: Options{}, config: d.config, set: []string{"data=" + d.data()}, err: io.Discard, level: defaultLevel, format: "text"}
	c.opts.Kinds = handlers.Builtin()
	var err error
	d.api, err = c.reachAPI()
	require.NoError(t, err)
	d.close = sync.OnceFunc(d.api.close)
	t.Cleanup(d.close)
	d.client = d.api.http
	var writes []pipeline.Write
	for i := range n {
		died := time.Date(2026, 2, 1, 8, 0, i, 0, time.UTC)
		writes = append(writes, d.api.store.Bury(store.DeadLetter{
			Handler: "work", Message: fmt.Sprintf("m-%d", i), Topic: "in", Reason: pipeline.ReasonTimeout, Error: fmt.Sprintf("call: late %d", i),
			Fingerprint: fmt.Sprintf("f%d", i%3), First: died, Last: died, Copy: "1", Key: fmt.Sprintf("k%d", i%2),
			Content: store.Content{
				Headers: map[string]string{"tenant": fmt.Sprintf("t%d", i%2)}, Payload: fmt.Appendf(nil, `{"id": "o-%d", "zip": "10%d",  "n": 1.50}`, i, i%5),
			},
		}))
	}
	require.NoError(t, d.api.store.Do(t.Context(), writes...))
	return d
}

// id is the letter's of a message.
func (d *desk) id(message string) int64 {
	d.t.Helper()
	var page dashboard.LetterPage
	d.ask(http.MethodGet, "?id="+message, "", http.StatusOK, &page)
	require.Len(d.t, page.Letters, 1)
	return page.Letters[0].ID
}

// ask sends a request to the dead letters, requires the status, and decodes
// the answer into out, or returns it.
func (d *desk) ask(method, path, body string, status int, out any) string {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://waybill/api/v1/dead-letters"+path, strings.NewReader(body))
	require.NoError(d.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Waybill-Actor", "ada")
	res, err := d.client.Do(req)
	require.NoError(d.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(d.t, err)
	require.Equal(d.t, status, res.StatusCode, "%s", text)
	if out != nil {
		require.NoError(d.t, json.Unmarshal(text, out))
	}
	return string(text)
}

func (d *desk) audit() []dashboard.AuditEntry {
	d.t.Helper()
	var answer struct {
		Entries []dashboard.AuditEntry `json:"entries"`
	}
	status, text := d.get("/api/v1/audit?limit=1000")
	require.Equal(d.t, http.StatusOK, status, text)
	require.NoError(d.t, json.Unmarshal([]byte(text), &answer))
	return answer.Entries
}

// messages lists the messages of the letters that match, in a text.
func (d *desk) messages(query string) string {
	d.t.Helper()
	var page dashboard.LetterPage
	d.ask(http.MethodGet, "?limit=1000&"+query, "", http.StatusOK, &page)
	var all []string
	for _, l := range page.Letters {
		all = append(all, l.Message)
	}
	return strings.Join(all, " ")
}

// TestLetters_API: the API of dead letters, on both stores.
func TestLetters_API(t *testing.T) {
	t.Parallel()
	for name, line := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			t.Run("1-52 pages with the total count", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 120)
				seen, cursor := 0, ""
				for want := 50; ; {
					var page dashboard.LetterPage
					d.ask(http.MethodGet, "?total=true&cursor="+cursor, "", http.StatusOK, &page)
					require.Equal(t, int64(120), *page.Total)
					require.Len(t, page.Letters, want)
					require.Equal(t, fmt.Sprintf("m-%d", 119-seen), page.Letters[0].Message, "newest first")
					require.Nil(t, page.Letters[0].Payload, "lists are without content unless asked")
					seen += len(page.Letters)
					want = min(50, 120-seen)
					if cursor = page.Next; cursor == "" {
						break
					}
				}
				require.Equal(t, 120, seen)
			})

			t.Run("1-53 letters are found by text, member, header and more, together and negated", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 6)
				for query, want := range map[string]string{
					"text=LATE%205":                       "m-5",
					"pointer=/id=o-3":                     "m-3",
					"pointer=/n=1.5":                      "",
					"header=tenant=t1&group=f0":           "m-3",
					"key=k0&since=2026-02-01T08:00:02Z":   "m-4 m-2",
					"parked=true":                         "",
					"reason=timeout&state=DEAD&handler=w": "",
					`filter={"not":{"or":[{"field":"key","value":"k1"},{"field":"id","value":"m-2"}]}}`: "m-4 m-0",
				} {
					require.Equal(t, want, d.messages(strings.ReplaceAll(query, " ", "%20")), query)
				}
				for _, query := range []string{`?filter={"field":"colour"}`, `?filter={"colour":1}`, "?pointer=id", "?since=yesterday", "?cursor=???", "?state=GONE", "?reason=nonsense"} {
					d.ask(http.MethodGet, query, "", http.StatusUnprocessableEntity, nil)
				}
			})

			t.Run("1-W9 a bulk action acts on exactly what matches, and says how many", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 30)
				var moved dashboard.Moved
				d.ask(http.MethodPost, "/archive", `{"filter":{"and":[{"field":"fingerprint","value":"f1"},{"field":"key","value":"k0"}]},"why":"tests"}`, http.StatusOK, &moved)
				require.Equal(t, dashboard.Moved{Count: 5}, moved)
				require.Equal(t, "m-28 m-22 m-16 m-10 m-4", d.messages("state=ARCHIVED"))
				entries := d.audit()
				require.Len(t, entries, 1)
				require.Equal(t, "ada archive tests 5", fmt.Sprint(entries[0].Actor, " ", entries[0].Action, " ", entries[0].Why, " ", entries[0].Count))
				require.Equal(t, "f1", entries[0].Filter.And[0].Value)
				d.ask(http.MethodPost, "/archive", `{"why":"no filter is not all"}`, http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodPost, "/archive", `{"ids":[1],"filter":{}}`, http.StatusUnprocessableEntity, nil)

				d.ask(http.MethodPost, "/restore", `{"filter":{}}`, http.StatusOK, &moved)
				require.Equal(t, 5, moved.Count)
				require.Empty(t, d.messages("state=ARCHIVED"))
			})

			t.Run("1-W9 what is newer than up_to stays", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 3)
				upTo := d.id("m-1")
				var moved dashboard.Moved
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"filter":{},"up_to":%d}`, upTo), http.StatusOK, &moved)
				require.Equal(t, 2, moved.Count)
				d.ask(http.MethodPost, "/restore", `{"filter":{}}`, http.StatusOK, nil)
				for _, message := range []string{"m-0", "m-1", "m-2"} {
					require.NoError(t, d.api.store.Do(t.Context(), d.api.store.MoveLetter(store.Move{ID: d.id(message), To: store.Replaying})))
				}
				d.ask(http.MethodPost, "/restore", fmt.Sprintf(`{"filter":{},"up_to":%d,"give_up":true}`, upTo), http.StatusOK, &moved)
				require.Equal(t, 2, moved.Count)
				require.Equal(t, "m-2", d.messages("state=REPLAYING"))
			})

			t.Run("1-W12 what the state does not allow is refused", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 3)
				one, two := d.id("m-1"), d.id("m-2")
				var moved dashboard.Moved
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"ids":[%d],"expires":"2099-01-01T00:00:00Z"}`, one), http.StatusOK, &moved)
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"ids":[%d,%d,99999]}`, one, two), http.StatusOK, &moved)
				require.Equal(t, 1, moved.Count)
				require.Equal(t, []int{http.StatusConflict, http.StatusNotFound}, []int{moved.Refused[0].Status, moved.Refused[1].Status})
				require.Contains(t, moved.Refused[0].Error, "it is ARCHIVED")
				var l dashboard.Letter
				text := d.ask(http.MethodGet, fmt.Sprintf("/%d", one), "", http.StatusOK, &l)
				require.Equal(t, "2099-01-01T00:00:00Z", l.Expires.Format(time.RFC3339))
				d.ask(http.MethodPut, fmt.Sprintf("/%d/content", one), fmt.Sprintf(`{"version":%d,"payload":"x"}`, l.Version), http.StatusConflict, nil)
				require.Equal(t, text, d.ask(http.MethodGet, fmt.Sprintf("/%d", one), "", http.StatusOK, nil), "nothing was changed")
				d.ask(http.MethodGet, "/99999", "", http.StatusNotFound, nil)
			})

			t.Run("1-W8 nothing is changed by a GET, nor by a page of another site", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 1)
				for _, path := range []string{"/archive", "/restore", "/import"} {
					d.ask(http.MethodGet, path, "", http.StatusUnprocessableEntity, nil) // it is no id
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://waybill/api/v1/dead-letters/archive", strings.NewReader(`{"filter":{}}`))
				require.NoError(t, err)
				req.Header.Set("Origin", "https://elsewhere.example")
				req.Header.Set("Sec-Fetch-Site", "cross-site")
				res, err := d.client.Do(req)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, http.StatusForbidden, res.StatusCode)
				require.Empty(t, d.audit())
			})

			t.Run("1-W5 an edit keeps id and original, and of two at a time one wins", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 1)
				path := fmt.Sprintf("/%d", d.id("m-0"))
				var before dashboard.Letter
				d.ask(http.MethodGet, path, "", http.StatusOK, &before)
				edits := make([]string, 8)
				var editing sync.WaitGroup
				for i := range edits {
					editing.Go(func() {
						req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://waybill/api/v1/dead-letters"+path+"/content",
							strings.NewReader(fmt.Sprintf(`{"version":%d,"payload":"edit %d","headers":{"by":"%d"}}`, before.Version, i, i)))
						req.Header.Set("Waybill-Actor", fmt.Sprintf("editor %d", i))
						res, err := d.client.Do(req)
						if err != nil {
							edits[i] = err.Error()
							return
						}
						defer res.Body.Close()
						text, _ := io.ReadAll(res.Body)
						edits[i] = fmt.Sprint(res.StatusCode, " ", string(text))
					})
				}
				editing.Wait()
				won := -1
				for i, edit := range edits {
					if strings.HasPrefix(edit, "200 ") {
						require.Equal(t, -1, won, "two won: %v", edits)
						won = i
					}
				}
				require.GreaterOrEqual(t, won, 0, edits)
				for i, edit := range edits {
					if i != won {
						require.True(t, strings.HasPrefix(edit, "409 "), edit)
						require.Contains(t, edit, "in version 2: look at it again")
						require.Contains(t, edit, fmt.Sprintf("editor %d was first", won), "who lost sees who won")
					}
				}
				var after dashboard.Letter
				d.ask(http.MethodGet, path, "", http.StatusOK, &after)
				require.Equal(t, fmt.Sprintf("edit %d", won), *after.Payload)
				require.Equal(t, before.Message, after.Message)
				require.True(t, after.Edited)
				var original dashboard.Content
				d.ask(http.MethodGet, path+"/original", "", http.StatusOK, &original)
				require.Equal(t, before.Content, original)
				require.Len(t, d.audit(), 1, "who lost changed nothing")
				d.ask(http.MethodPut, path+"/content", `{"version":2}`, http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodPut, path+"/content", `{"version":2,"payload":"`+"\xff"+`"}`, http.StatusUnprocessableEntity, nil)
			})

			t.Run("an edit keeps each byte that was sent, or refuses it", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 1)
				path := fmt.Sprintf("/%d", d.id("m-0"))
				d.ask(http.MethodPut, path+"/content", `{"version":1,"payload":"a\ud800b"}`, http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodPut, path+"/content", `{"version":1,"payload":"x","headers":{"a\udc00":"b"}}`, http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodPut, path+"/content", `{"version":1,"payload":"x","payload":"y"}`, http.StatusUnprocessableEntity, nil)
				headers := func(edit string) map[string]string {
					d.ask(http.MethodPut, path+"/content", edit, http.StatusOK, nil)
					var l dashboard.Letter
					d.ask(http.MethodGet, path, "", http.StatusOK, &l)
					return l.Content.Content().Headers
				}
				require.Equal(t, map[string]string{"tenant": "t0"}, headers(`{"version":1,"payload":"\ud83d\ude00"}`), "nobody said that they are to go")
				require.Equal(t, map[string]string{"\xff": "\x00"}, headers(`{"version":2,"payload":"x","headers_base64":[{"name":"/w==","value":"AA=="}]}`))
				require.Empty(t, headers(`{"version":3,"payload":"x","headers":{}}`))
			})

			t.Run("1-W5 a lost edit names who was first, or nobody", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 1)
				id := d.id("m-0")
				edit := func(version int) string {
					return d.ask(http.MethodPut, fmt.Sprintf("/%d/content", id), fmt.Sprintf(`{"version":%d,"payload":"x"}`, version), http.StatusConflict, nil)
				}
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"ids":[%d]}`, id), http.StatusOK, nil)
				require.Contains(t, edit(1), "ada was first (archive at")
				require.NotContains(t, edit(2), "was first", "it is archived, as it was when this was written")
				d.ask(http.MethodPost, "/restore", fmt.Sprintf(`{"ids":[%d]}`, id), http.StatusOK, nil)
				require.NoError(t, d.api.store.Do(t.Context(), d.api.store.CloseLetter("work", "m-0", 0)))
				require.NotContains(t, edit(3), "was first", "that its message succeeded is nobody's deed")
			})

			t.Run("1-W10 letters go when their time is up", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 2)
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"ids":[%d],"expires":"2026-01-01T00:00:00Z"}`, d.id("m-0")), http.StatusOK, nil)
				n, err := d.api.store.ExpireLetters(t.Context(), store.Expiry{Now: time.Now()})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.Equal(t, "m-1", d.messages(""))
			})

			t.Run("groups and their notes", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 9)
				d.ask(http.MethodPut, "/groups/work/f1/note", `{"note":"warehouse is down","why":"told"}`, http.StatusNoContent, nil)
				d.ask(http.MethodPut, "/groups/work/none/note", `{"note":"x"}`, http.StatusNotFound, nil)
				var groups dashboard.LetterGroups
				d.ask(http.MethodGet, "/groups?handler=work", "", http.StatusOK, &groups)
				require.Len(t, groups.Groups, 3)
				require.Equal(t, "f2", groups.Groups[0].Fingerprint, "the latest first")
				require.Equal(t, int64(3), groups.Groups[0].Counts[store.Dead])
				require.Equal(t, "warehouse is down", groups.Groups[1].Note)
				groups = dashboard.LetterGroups{}
				d.ask(http.MethodGet, "/groups?by=pointer:/zip&key=k0", "", http.StatusOK, &groups)
				require.Len(t, groups.Values, 5)
				require.Equal(t, int64(1), groups.Values[0].Count)
				d.ask(http.MethodGet, "/groups?by=colour", "", http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodGet, "/groups?key=k0", "", http.StatusUnprocessableEntity, nil)
				d.ask(http.MethodPut, fmt.Sprintf("/%d/note", d.id("m-0")), `{"note":"called"}`, http.StatusNoContent, nil)
				require.Len(t, d.audit(), 2)
			})

			t.Run("an archived letter lets go of what waits behind it", func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, isolated(t, line), 2)
				for i := range 2 {
					require.NoError(t, d.api.store.Do(t.Context(), d.api.store.Delay(store.DelayedMessage{
						Handler: "work", Message: fmt.Sprintf("m-%d", i), Key: fmt.Sprint(i), Parked: true,
					})))
				}
				d.ask(http.MethodPost, "/archive", fmt.Sprintf(`{"ids":[%d]}`, d.id("m-0")), http.StatusOK, nil)
				keys, err := d.api.store.HeldKeys(t.Context(), "work")
				require.NoError(t, err)
				require.Equal(t, []string{"1"}, keys)
				d.ask(http.MethodPost, "/archive", `{"filter":{}}`, http.StatusOK, nil)
				keys, err = d.api.store.HeldKeys(t.Context(), "work")
				require.NoError(t, err)
				require.Empty(t, keys)
			})
		})
	}
}

// isolated gives a test its own schema where the store is PostgreSQL.
func isolated(t *testing.T, line string) string {
	t.Helper()
	if line == "" {
		return line
	}
	return fmt.Sprintf("store: {url: %q}\n", storetest.Schema(t))
}

// TestDLQ: the commands, on a store that nobody runs on.
func TestDLQ(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, n int) *desk {
		d := newDesk(t, "", n)
		d.close() // the commands open it
		return d
	}
	t.Run("1-57 a letter is shown, put aside and brought back", func(t *testing.T) {
		t.Parallel()
		d := open(t, 3)
		code, out, errs := d.run("", "dlq", "ls")
		require.Zero(t, code, errs)
		require.Contains(t, out, "call: late 2")
		code, out, errs = d.run("", "dlq", "show", "1")
		require.Zero(t, code, errs)
		require.Contains(t, out, `{"id": "o-0"`)
		code, out, _ = d.run("", "dlq", "show", "1", "--payload")
		require.Zero(t, code)
		require.Equal(t, `{"id": "o-0", "zip": "100",  "n": 1.50}`, out)
		code, out, errs = d.run("", "dlq", "archive", "1", "2", "--why", "tests", "--expires", "24h")
		require.Zero(t, code, errs)
		require.Equal(t, "archived 2\n", out)
		code, out, errs = d.run("", "dlq", "archive", "2", "3")
		require.Equal(t, exitPartial, code, errs)
		require.Equal(t, "archived 1\n", out)
		require.Contains(t, errs, "it is ARCHIVED")
		code, _, _ = d.run("", "dlq", "archive", "3")
		require.Equal(t, exitRefused, code)
		code, _, _ = d.run("", "dlq", "restore", "77")
		require.Equal(t, exitNotFound, code)
		code, out, errs = d.run("", "dlq", "restore", "--all", "--yes", "--output", "json")
		require.Zero(t, code, errs)
		require.Contains(t, out, `"count": 3`)
	})
	t.Run("a replay that nobody takes is given up", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, "", 4)
		s := d.api.store
		for id := int64(1); id <= 3; id++ {
			l, err := s.Letter(t.Context(), id)
			require.NoError(t, err)
			require.NoError(t, s.Do(t.Context(), s.MoveLetter(store.Move{ID: id, To: store.Replaying}),
				s.Requeue(store.DelayedMessage{Handler: l.Handler, Message: l.Message, Letter: id, Content: l.Content})))
		}
		leases, err := s.LeaseDue(t.Context(), "work", 1, time.Hour)
		require.NoError(t, err)
		require.Len(t, leases, 1)
		busy := leases[0].Message
		d.close()
		code, _, errs := d.run("", "dlq", "restore", "--give-up", "4")
		require.Equal(t, exitRefused, code)
		require.Contains(t, errs, "it is DEAD, not REPLAYING")
		code, out, errs := d.run("", "dlq", "restore", "--give-up", "--handler", "work", "--why", "renamed", "--yes")
		require.Equal(t, exitPartial, code, errs)
		require.Contains(t, errs, "its handler has it in hand")
		require.Equal(t, "restored 2\n", out)
		_, out, _ = d.run("", "dlq", "ls", "--state", "REPLAYING", "--output", "ndjson")
		require.Equal(t, 1, strings.Count(out, "\n"))
		require.Contains(t, out, busy)
	})
	t.Run("1-58 a bulk action says how many, and asks", func(t *testing.T) {
		t.Parallel()
		d := open(t, 10)
		code, _, errs := d.run("n\n", "dlq", "archive", "--group", "f0")
		require.Equal(t, exitRefused, code)
		require.Contains(t, errs, "archive 4 dead letters?")
		code, _, _ = d.run("", "dlq", "archive", "--group", "f0")
		require.Equal(t, exitRefused, code, "no answer is no")
		code, out, errs := d.run("y\n", "dlq", "archive", "--group", "f0")
		require.Zero(t, code, errs)
		require.Equal(t, "archived 4\n", out)
		for _, args := range [][]string{{}, {"1", "--all"}, {"1", "--group", "f0"}, {"--all", "--group", "f0"}, {"x"}, {"--pointer", "id"}} {
			code, _, _ = d.run("", append([]string{"dlq", "archive", "--yes"}, args...)...)
			require.Equal(t, exitUsage, code, args)
		}
	})
	t.Run("an edit changes one value and no other byte", func(t *testing.T) {
		t.Parallel()
		d := open(t, 1)
		code, out, errs := d.run("", "dlq", "edit", "1", "--value", "/zip=01234", "--value", "/n=2.50", "--header", "tenant=north", "--yes", "--why", "moved")
		require.Zero(t, code, errs)
		require.Equal(t, "changed 1, version 2\n", out)
		require.Contains(t, errs, `- {"id": "o-0", "zip": "100",  "n": 1.50}`)
		require.Contains(t, errs, `+ header "tenant": "north"`)
		_, out, _ = d.run("", "dlq", "show", "1", "--payload")
		require.Equal(t, `{"id": "o-0", "zip": "01234",  "n": 2.50}`, out)
		_, out, _ = d.run("", "dlq", "show", "1", "--payload", "--original")
		require.Equal(t, `{"id": "o-0", "zip": "100",  "n": 1.50}`, out)
		code, _, errs = d.run("", "dlq", "edit", "1", "--value", "/n=two", "--yes")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "is not JSON")
		code, _, errs = d.run("", "dlq", "edit", "1", "--value", "/n", "--yes")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "want /pointer=text or /pointer:=JSON")
		code, _, errs = d.run("", "dlq", "edit", "1", "--value", "/zip:=1234", "--value", `/n:="a=b"`, "--yes")
		require.Zero(t, code, errs)
		_, out, _ = d.run("", "dlq", "show", "1", "--payload")
		require.Equal(t, `{"id": "o-0", "zip": 1234,  "n": "a=b"}`, out)
		code, _, errs = d.run("", "dlq", "edit", "1", "--drop-header", "tenant", "--yes")
		require.Zero(t, code, errs)
		_, out, _ = d.run("", "dlq", "show", "1")
		require.NotContains(t, out, "header", "the last one, too, can go")
		code, _, errs = d.run("n\n", "dlq", "edit", "1", "--file", "-")
		require.Equal(t, exitRefused, code, errs)
	})
	t.Run("an edit of what cannot be edited asks nothing", func(t *testing.T) {
		t.Parallel()
		d := open(t, 1)
		code, _, errs := d.run("", "dlq", "archive", "1")
		require.Zero(t, code, errs)
		code, _, errs = d.run("y\n", "dlq", "edit", "1", "--value", "/zip=1")
		require.Equal(t, exitRefused, code)
		require.Equal(t, "waybill: dead letter 1 is ARCHIVED: only one that is DEAD can be changed\n", errs)
	})
	t.Run("1-W5 the audit log says who changed what and why", func(t *testing.T) {
		t.Parallel()
		d := open(t, 3)
		for _, line := range []string{"archive 1 --why tests", "archive --group f1 --yes", "restore 1", "note 2 called"} {
			code, _, errs := d.run("", append([]string{"dlq"}, strings.Fields(line)...)...)
			require.Zero(t, code, errs)
		}
		code, out, errs := d.run("", "dlq", "audit")
		require.Zero(t, code, errs)
		rows := strings.Split(strings.TrimSpace(out), "\n")
		require.Len(t, rows, 5)
		require.Contains(t, rows[1], "note")
		require.Contains(t, rows[3], `"field":"fingerprint"`)
		require.Regexp(t, regexp.QuoteMeta(actor())+` +archive +1 +\[1\] +tests`, rows[4])
		_, out, errs = d.run("", "dlq", "audit", "--output", "ndjson", "--action", "archive", "--since", "1h", "-n", "1")
		require.Equal(t, 1, strings.Count(out, "\n"))
		require.Contains(t, errs, "-n 0 lists all")
		_, out, _ = d.run("", "dlq", "audit", "--output", "json", "--actor", "nobody")
		require.JSONEq(t, `{"entries": []}`, out)
		code, _, errs = d.run("", "dlq", "audit", "--since", "yesterday")
		require.Equal(t, exitUsage, code, errs)
	})
	t.Run("a note, and groups", func(t *testing.T) {
		t.Parallel()
		d := open(t, 3)
		code, _, errs := d.run("", "dlq", "note", "1", "customer called")
		require.Zero(t, code, errs)
		code, _, errs = d.run("", "dlq", "note", "--handler", "work", "--group", "f1", "see 88")
		require.Zero(t, code, errs)
		code, _, _ = d.run("", "dlq", "note", "just text")
		require.Equal(t, exitUsage, code)
		_, out, _ := d.run("", "dlq", "groups")
		require.Contains(t, out, "see 88")
		_, out, _ = d.run("", "dlq", "groups", "--by", "header:tenant", "--output", "ndjson")
		require.Equal(t, 2, strings.Count(out, "\n"), out)
		_, out, _ = d.run("", "dlq", "show", "1")
		require.Contains(t, out, "customer called")
	})
	t.Run("a question ends with the first interrupt, and is not asked where nobody is", func(t *testing.T) {
		t.Parallel()
		d := open(t, 1)
		args := []string{"dlq", "archive", "--all", "--config", d.config, "--set", "data=" + d.data()}
		ctx, interrupt := context.WithCancel(t.Context())
		pipe, answer := io.Pipe()
		var out, told syncBuffer
		ended := make(chan int)
		go func() {
			ended <- execute(ctx, ctx, &interrupts{}, Options{Kinds: handlers.Builtin()}, args, pipe, &out, &told)
		}()
		d.eventually(func() bool { return strings.Contains(told.String(), "archive 1 dead letters?") }, "it asks")
		interrupt()
		require.Equal(t, exitRefused, <-ended, told.String())
		require.NoError(t, answer.Close())

		read, write, err := os.Pipe()
		require.NoError(t, err)
		defer read.Close()
		defer write.Close() // who would read it would wait
		code := execute(t.Context(), t.Context(), &interrupts{}, Options{Kinds: handlers.Builtin()}, args, read, &out, &told)
		require.Equal(t, exitUsage, code, told.String())
		require.Contains(t, told.String(), "give --yes")
	})
	t.Run("what no letter has is wrong usage, as is what the API cannot do", func(t *testing.T) {
		t.Parallel()
		d := open(t, 1)
		for _, line := range []string{
			"ls --state dead", "ls --reason nonsense", "ls --parked yes", "archive --state gone --yes", "export --state dead",
			"groups --since 24h", "groups --key k0", "groups --by colour",
			"replay 1 --yes --detach --ramp 0", "replay 1 --yes --detach --to nowhere", "replay 1 --yes --detach --transform 1+",
		} {
			code, out, errs := d.run("", append([]string{"dlq"}, strings.Fields(line)...)...)
			require.Equal(t, exitUsage, code, "%s: %s%s", line, out, errs)
		}
		code, out, errs := d.run("", "dlq", "groups", "--handler", "work")
		require.Zero(t, code, errs)
		require.Contains(t, out, "f0")
		code, out, errs = d.run("", "dlq", "groups", "--handler", "nobody", "--by", "header:tenant", "--output", "ndjson")
		require.Zero(t, code, errs)
		require.Empty(t, out)
	})
	t.Run("a store that cannot be reached is exit code 3, nonsense 2", func(t *testing.T) {
		t.Parallel()
		d := open(t, 1)
		code, _, _ := d.run("", "dlq", "ls", "--output", "xml")
		require.Equal(t, exitUsage, code)
		var out, errs syncBuffer
		code = execute(t.Context(), t.Context(), &interrupts{}, Options{Kinds: handlers.Builtin()}, []string{"dlq", "ls", "--server", "http://127.0.0.1:1"}, strings.NewReader(""), &out, &errs)
		require.Equal(t, exitUnreachable, code, errs.String())
	})
}

// TestDLQ_LostRace: while the user is in the editor somebody else changes the
// letter, in a Waybill that runs.
func TestDLQ_LostRace(t *testing.T) {
	t.Parallel()
	config := unique(fmt.Sprintf(passing, "main: {driver: embedded}", failingWith))
	s := begin(t, config)
	in, _ := topics(config)
	s.publish(in, "no JSON")
	s.letters(1)
	code, _, errs := s.run("", "dlq", "edit", "1", "--file", "-", "--yes")
	require.Zero(t, code, errs)

	pipe, answer := io.Pipe()
	done := make(chan struct{})
	var out, told syncBuffer
	args := []string{"dlq", "edit", "1", "--header", "by=me", "--config", s.config, "--set", "data=" + s.data()}
	go func() {
		defer close(done)
		code = execute(t.Context(), t.Context(), &interrupts{}, Options{Kinds: handlers.Builtin()}, args, pipe, &out, &told)
	}()
	s.eventually(func() bool { return strings.Contains(told.String(), "change dead letter 1?") }, "it asks")
	other := filepath.Join(t.TempDir(), "repaired.json")
	require.NoError(t, os.WriteFile(other, []byte(`{"repaired": true}`), 0o600))
	code2, _, errs := s.run("", "dlq", "edit", "1", "--file", other, "--yes")
	require.Zero(t, code2, errs)
	_, err := io.WriteString(answer, "y\n")
	require.NoError(t, err)
	<-done
	require.Equal(t, exitRefused, code, told.String())
	require.Contains(t, told.String(), "was first (edit at")
	require.Contains(t, told.String(), `- {"repaired": true}`, "the newer version is shown")
}

// TestDLQ_Counted: a bulk action acts on what it counted.
func TestDLQ_Counted(t *testing.T) {
	t.Parallel()
	t.Run("1-W9 what dies while the user thinks stays", func(t *testing.T) {
		t.Parallel()
		config := unique(fmt.Sprintf(passing, "main: {driver: embedded}", failingWith))
		s := begin(t, config)
		in, _ := topics(config)
		code, _, errs := s.run("y\n", "dlq", "archive", "--all")
		require.Equal(t, exitNotFound, code, errs)
		s.publish(in, "no JSON")
		s.letters(1)
		pipe, answer := io.Pipe()
		var out, told syncBuffer
		args := []string{"dlq", "archive", "--all", "--config", s.config, "--set", "data=" + s.data()}
		ended := make(chan int)
		go func() {
			ended <- execute(t.Context(), t.Context(), &interrupts{}, Options{Kinds: handlers.Builtin()}, args, pipe, &out, &told)
		}()
		s.eventually(func() bool { return strings.Contains(told.String(), "archive 1 dead letters?") }, "it asks")
		s.publish(in, "nor is this")
		s.letters(2)
		_, err := io.WriteString(answer, "y\n")
		require.NoError(t, err)
		require.Zero(t, <-ended, told.String())
		require.Equal(t, "archived 1\n", out.String())
	})
}
