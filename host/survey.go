package host

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/org/portcheck/port"
)

// SurveyParts is how many parts a survey has. The remainder of a port is its part.
const SurveyParts = 64

// Survey asks which sockets listen, without their holders. It costs what a dump of the
// listening sockets costs: it is for those who ask again and again.
type Survey struct {
	// Known are the digests of the parts of the earlier answers. A part with the same
	// digest is left out. Without Known, every part is in the answer.
	Known []uint64 `json:"known,omitempty"`
}

// Surveyed answers a Survey. The sockets of the parts are in Facts.Sockets.
type Surveyed struct {
	Whole   bool  `json:"whole"`   // the socket tables were read whole; otherwise there are gaps
	Changed []int `json:"changed"` // the parts that are in the answer, ascending
}

// PartOf returns the part of a survey to which a port belongs.
func PartOf(n uint16) int { return int(n % SurveyParts) }

// Digests returns the digest of each part of a survey, from all listening sockets. The
// order of the sockets makes no difference.
func Digests(sockets []Socket) []uint64 {
	all := make([]uint64, SurveyParts)
	for i := range sockets {
		if s := &sockets[i]; s.State == Listen {
			all[PartOf(s.Port)] += s.Digest()
		}
	}
	return all
}

// Digest returns a number that is another one for another socket, or another owner.
func (s *Socket) Digest() uint64 {
	d := socketDigest{inode: s.Inode, addr: s.Addr.As16(), port: s.Port, device: s.Device}
	d.set(0, s.Addr.Is4())
	d.set(1, s.V6Only)
	d.set(2, s.Protocol == port.UDP)
	d.set(3, s.MayBeV6Only)
	if s.UID != nil {
		d.set(4, true)
		d.uid = *s.UID
	}
	if s.Inode == 0 && len(s.Holders) > 0 { // where the system does not number its sockets
		d.inode = uint64(s.Holders[0].PID)
	}
	return d.sum()
}

// socketDigest is what the digest of a socket is made from.
type socketDigest struct {
	inode  uint64
	addr   [16]byte
	port   uint16
	flags  uint64
	uid    uint32
	device string
}

func (d *socketDigest) set(flag int, value bool) {
	if value {
		d.flags |= 1 << flag
	}
}

func (d *socketDigest) sum() uint64 {
	h := mix(d.inode)
	h = mix(h ^ binary.BigEndian.Uint64(d.addr[:8]))
	h = mix(h ^ binary.BigEndian.Uint64(d.addr[8:]))
	h = mix(h ^ (uint64(d.uid)<<32 | uint64(d.port)<<16 | d.flags))
	for i := range len(d.device) {
		h = mix(h ^ uint64(d.device[i]))
	}
	return h
}

// mix is the last step of splitmix64, by Sebastiano Vigna.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// surveyQueries select the sockets of a survey.
func surveyQueries() []query {
	return []query{{protocol: port.TCP, listening: true}, {protocol: port.UDP, listening: true}}
}

// answerSurvey returns the answer to a survey from what was read of the socket table.
func answerSurvey(survey Survey, read tableRead) Facts {
	facts := Facts{Tried: []Tried{}, Open: []port.Set{}, Dialed: []Attempt{}, Sockets: []Socket{}, Gaps: read.gaps}
	surveyed := &Surveyed{Whole: true, Changed: []int{}}
	facts.Surveyed = surveyed
	for _, proto := range port.Protocols {
		surveyed.Whole = surveyed.Whole && read.whole[proto]
	}
	if !surveyed.Whole {
		return facts
	}
	facts.Gaps = []Gap{}
	var wanted [SurveyParts]bool
	for part, digest := range Digests(read.sockets) {
		if len(survey.Known) != SurveyParts || survey.Known[part] != digest {
			wanted[part] = true
			surveyed.Changed = append(surveyed.Changed, part)
		}
	}
	for _, s := range read.sockets {
		if s.State == Listen && wanted[PartOf(s.Port)] {
			s.Holders = nil
			facts.Sockets = append(facts.Sockets, s)
		}
	}
	return facts
}

// surveyLocal answers a survey of this machine. Most rounds show no change, for which
// no socket has to be kept.
func surveyLocal(ctx context.Context, survey Survey) (Facts, error) {
	if len(survey.Known) == SurveyParts && slices.Equal(survey.Known, readDigests(ctx)) {
		return Facts{Tried: []Tried{}, Open: []port.Set{}, Dialed: []Attempt{}, Sockets: []Socket{}, Gaps: []Gap{}, Surveyed: &Surveyed{Whole: true, Changed: []int{}}}, nil
	}
	return answerSurvey(survey, readTable(ctx, surveyQueries())), ctx.Err()
}

// survey is surveyLocal for a machine of which only files can be read.
func (p *procProbe) survey(survey Survey) Facts {
	p.nameZones()
	p.readTables(surveyQueries())
	return answerSurvey(survey, tableRead{sockets: p.table.sockets, whole: p.whole, gaps: p.facts.Gaps})
}
