package report

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// Sizes of the picture, in its own units.
const (
	svgWidth  = 760
	svgLeft   = 190 // where bars begin
	svgRight  = 120 // for the figures behind the longest bar
	barHeight = 16
	groupGap  = 14
	svgTop    = 56

	longestBar = 2.0 // a ratio beyond is told by its figure alone, so that others stay readable
)

// svgStyle reads in light and in dark: nothing is painted behind, and the
// colours of text follow the viewer's scheme.
const svgStyle = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.dim { fill: #57606a }
.line { stroke: #57606a; stroke-dasharray: 4 3 }
.raw { fill: #8c959f } .waybill, .waybill-log { fill: #2f81f7 } .stock { fill: #d4a72c } .stock-tuned { fill: #bf8700 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .dim { fill: #9198a1 } .line { stroke: #9198a1 } }
`

// WriteSVG draws ratios to the bare client's messages a second.
func WriteSVG(file string, lines []Line) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(SVG(lines)), 0o600)
}

// SVG is a bar for each implementation, in groups of broker and variant, as
// long as its ratio to the bare client.
func SVG(lines []Line) string {
	longest := 1.0
	for _, l := range lines {
		longest = max(longest, min(l.RateRatio.Median, longestBar))
	}
	scale := float64(svgWidth-svgLeft-svgRight) / longest
	var bars strings.Builder
	y, group := svgTop, ""
	for _, l := range lines {
		if l.Impl == job.Raw || l.RateRatio == (Spread{}) {
			continue
		}
		if name := l.Broker + ", " + l.Variant; name != group {
			y += groupGap
			if group == "" {
				y = svgTop
			}
			group = name
			fmt.Fprintf(&bars, `<text x="0" y="%d">%s</text>`+"\n", y+barHeight-4, escape(name))
		}
		bar(&bars, l, y, scale)
		y += barHeight + 4
	}
	return svgFrame(bars.String(), y+4, svgLeft+scale)
}

func bar(w *strings.Builder, l Line, y int, scale float64) {
	width := min(l.RateRatio.Median, longestBar) * scale
	fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"><title>%s: %.0f msg/s</title></rect>`+"\n",
		escape(l.Impl), svgLeft, y, width, barHeight, escape(l.Impl), l.Rate.Median)
	fmt.Fprintf(w, `<text class="dim" x="%.1f" y="%d">%.2f %s</text>`+"\n", float64(svgLeft)+width+6, y+barHeight-4, l.RateRatio.Median, escape(l.Impl))
}

// svgFrame puts title and the line of the bare client around the bars.
func svgFrame(bars string, height int, raw float64) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Messages a second, as a share of the bare client's">
<style>%s</style>
<text x="0" y="18">Messages a second, as a share of the bare pipelined client's</text>
<text class="dim" x="%.1f" y="40" text-anchor="middle">the bare client</text>
<line class="line" x1="%.1f" x2="%.1f" y1="46" y2="%d"/>
%s</svg>
`, svgWidth, height, svgWidth, height, svgStyle, raw, raw, raw, height, bars)
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
