import Flows
import Packets

/// Keeps everything.
struct Collected: FlowSink {
  var records: [FlowRecord] = []
  var room = Int.max

  mutating func accept(_ record: FlowRecord) { records.append(record) }
}

/// Some of this many different flows, of both families.
func flowKey(_ number: Int) -> FlowKey {
  let port = UInt16(truncatingIfNeeded: number)
  let high = UInt32(truncatingIfNeeded: number >> 16)
  if number % 3 == 0 {
    return FlowKey(
      source: .v6(IPv6Address(value: 0x2001_0db8 << 96 | UInt128(number))),
      destination: .v6(IPv6Address(value: 0x2001_0db8 << 96 | 0xffff << 64 | UInt128(high))), protocol: .tcp,
      sourcePort: port, destinationPort: 443, vlanID: number % 2 == 0 ? 100 : nil, ingressPort: 1)
  }
  return FlowKey(
    source: .v4(IPv4Address(value: 0xc000_0200 &+ high)), destination: .v4(IPv4Address(198, 51, 100, 7)),
    protocol: number % 2 == 0 ? .udp : .tcp, sourcePort: port, destinationPort: 53)
}
