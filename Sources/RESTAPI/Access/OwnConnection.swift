import NIOCore
import Packets
import Rules
import Storage

/// The connection that a request came in by, where packets of it cross an interface of this machine.
struct OwnConnection: Hashable, Sendable {
  let remote: IPAddress
  let remotePort: UInt16
  let local: IPAddress
  let localPort: UInt16

  init(remote: IPAddress, remotePort: UInt16, local: IPAddress, localPort: UInt16) {
    self.remote = remote
    self.remotePort = remotePort
    self.local = local
    self.localPort = localPort
  }

  /// Nil for a unix socket and for loopback, which no rule set decides about.
  init?(_ channel: any Channel) {
    guard let peer = channel.remoteAddress, let own = channel.localAddress, let peerPort = peer.port,
      let ownPort = own.port, let remote = peer.ipAddress.flatMap(Self.address),
      let local = own.ipAddress.flatMap(Self.address), remote.family == local.family, !Self.isLoopback(remote)
    else { return nil }
    self.init(
      remote: remote, remotePort: UInt16(clamping: peerPort), local: local, localPort: UInt16(clamping: ownPort))
  }

  /// Without scope; of IPv4 in IPv6 the IPv4 address.
  private static func address(_ text: String) -> IPAddress? {
    let bare = String(text.prefix { $0 != "%" })
    return IPAddress(bare.hasPrefix("::ffff:") && bare.contains(".") ? String(bare.dropFirst(7)) : bare)
  }

  private static func isLoopback(_ address: IPAddress) -> Bool {
    switch address {
    case .v4(let v4): v4.value >> 24 == 127
    case .v6(let v6): v6.value == 1
    }
  }

  /// Where a rule set decides, and what becomes there of packets that are captured while nobody captures.
  struct Place: Hashable, Sendable {
    var interface: String
    var captureFallback = Fate.pass
  }

  /// The rule, or "default", by which a rule set drops the next packet of this connection or of the next one, or leads it
  /// elsewhere; nil: both come through.
  func lost(by ruleSet: RuleSet, at place: Place) -> String? {
    for flags: UInt16 in [0x18, 0x02] {  // PSH and ACK, then SYN
      let frame = PacketBuilder(
        from: remote, to: local, .tcp(source: remotePort, destination: localPort, flags: flags), payload: [0]
      ).build()
      let decision = ReferenceClassifier.decide(frame, by: ruleSet, at: Arrival(interface: place.interface))
      let isLost =
        switch decision.action {
        case .drop, .redirect: true
        case .capture: place.captureFallback == .drop
        default: false
        }
      if isLost { return decision.ruleName ?? "default" }
    }
    return nil
  }
}

extension Attachment {
  var place: OwnConnection.Place { .init(interface: interface, captureFallback: options.captureFallback) }
}
