import Packets
import Rules

// What a wire may be, and which way its packets go. Pure.

extension WireOptions {
  /// What is wrong with the options by themselves.
  func check() throws(ControlError) {
    func refuse(_ message: String) -> ControlError { ControlError(.invalidArgument, message) }
    guard isValidName(name) else {
      throw refuse(
        "name: \"\(ValueTextError.excerpt(name))\" is no name of a wire: a-z, 0-9, '.', '_' and '-', at most "
          + "\(Limits.nameByteCountMax) bytes, and a letter or a digit first")
    }
    for (field, interface) in [("a", a), ("b", b)] + (mirror.isEmpty ? [] : [("mirror", mirror)]) {
      if let fault = interfaceNameFault(interface) {
        throw refuse("\(field): \"\(ValueTextError.excerpt(interface))\" is no interface name: \(fault)")
      }
    }
    if !mirror.isEmpty, sides.contains(mirror) { throw refuse("mirror: \(mirror) is a side of the wire") }
    try worker.check("")
    if let flows {
      try flows.check()
      if !mirror.isEmpty, max(1, flows.sampleEvery) != max(1, mirrorSampleEvery) {
        throw refuse("mirror_sample_every: flows and the mirror take the same samples: give both the same rate")
      }
    }
    guard path == .kernel, let need = userSpaceNeed else { return }
    throw refuse("path: kernel, but \(need): leave that out, or the path to the daemon (auto)")
  }

  /// Why the packets must come to user space; nil: they need not.
  var userSpaceNeed: String? {
    if isReflector { return "a reflector swaps the addresses of its packets in user space" }
    if flows != nil { return "flows are accounted for in user space" }
    if !mirror.isEmpty { return "packets are mirrored in user space" }
    return nil
  }
}

extension FlowOptions {
  func check() throws(ControlError) {
    if !collector.isEmpty { _ = try collectorAddress() }
    for (field, value) in [
      ("active_timeout", activeTimeoutMilliseconds), ("idle_timeout", idleTimeoutMilliseconds),
    ] where value != 0 && !Self.timeoutRange.contains(value) {
      throw ControlError(
        .invalidArgument, "flows.\(field): \(Self.timeoutRange.lowerBound) ms to "
          + "\(Self.timeoutRange.upperBound / 60_000) minutes, or 0 for the default")
    }
    if flowsMax != 0, !Self.flowsMaxRange.contains(flowsMax) {
      throw ControlError(
        .invalidArgument, "flows.flows_max: \(Self.flowsMaxRange.lowerBound) to \(Self.flowsMaxRange.upperBound), or 0 "
          + "for \(Self.flowsMaxDefault)")
    }
  }

  /// `192.0.2.7:4739`, `[2001:db8::7]:4739`; the port may be left out.
  func collectorAddress() throws(ControlError) -> (address: IPAddress, port: UInt16) {
    var host = Substring(collector)
    var port: UInt16? = 4739
    if collector.hasPrefix("["), let end = collector.lastIndex(of: "]") {
      host = collector[collector.index(after: collector.startIndex)..<end]
      let rest = collector[collector.index(after: end)...]
      if !rest.isEmpty { port = rest.hasPrefix(":") ? UInt16(rest.dropFirst()) : nil }
    } else if collector.count(where: { $0 == ":" }) == 1, let colon = collector.firstIndex(of: ":") {
      host = collector[..<colon]
      port = UInt16(collector[collector.index(after: colon)...])
    }
    guard let port, port > 0, let address = try? IPAddress(parsing: String(host)) else {
      throw ControlError(
        .invalidArgument,
        "flows.collector: \"\(ValueTextError.excerpt(collector))\" is no collector: write ADDRESS:PORT, for example "
          + "192.0.2.7:4739 or [2001:db8::7]:4739; names are not looked up")
    }
    return (address, port)
  }
}

/// One side as the choice of a path sees it.
struct WireSideFacts: Hashable, Sendable {
  var interface: String
  var isNative = true
  /// The device transmits redirected packets now (NDO_XMIT of its XDP features); nil: the kernel can't tell.
  var transmitsRedirected: Bool? = true
  var receiveQueueCount: UInt32 = 1
  var transmitQueueCount: UInt32 = 1
  var mtu: UInt32 = 1500
  /// It is up and has a carrier.
  var sends = true
  var captureFallback = Fate.pass
}

/// The way that a wire's packets go, and why.
struct WireChoice: Hashable, Sendable {
  enum Path: String, Hashable, Sendable { case kernel, user }

  var path: Path
  var reason: String
  var warnings: [String] = []

  /// - Throws: Where no way would work, with the remedy.
  static func make(_ options: WireOptions, _ sides: [WireSideFacts]) throws(ControlError) -> WireChoice {
    if let side = sides.first(where: { !$0.isNative }) {
      throw ControlError(
        .failedPrecondition,
        "\(side.interface) is attached in generic mode, and a wire needs native XDP: redirected packets would take the slow "
          + "way through the stack. Attach it with mode native")
    }
    // What leaves by a side was redirected there by the other.
    let unable = options.isReflector ? nil : sides.first { $0.transmitsRedirected == false }?.interface
    var choice: WireChoice
    if let need = options.userSpaceNeed {
      choice = WireChoice(path: .user, reason: need)
    } else {
      switch options.path {
      case .user: choice = WireChoice(path: .user, reason: "asked for")
      case .auto:
        if let unable {
          choice = WireChoice(
            path: .user, reason: "\(unable) cannot transmit redirected packets now, the kernel would lose them")
        } else {
          choice = WireChoice(path: .kernel, reason: "nothing needs the packets in user space")
        }
      case .kernel:
        if let unable {
          throw ControlError(.failedPrecondition, "\(unable) cannot transmit redirected packets: \(remedy)")
        }
        choice = WireChoice(path: .kernel, reason: "asked for")
      }
    }
    if choice.path == .user {
      try checkQueues(sides)
      guard Set(sides.map(\.captureFallback)).count == 1 else {
        throw ControlError(
          .failedPrecondition, "the sides are attached with different capture fallbacks, and their packets share threads: "
            + "attach both with the same")
      }
    }
    if !options.mirror.isEmpty, let side = sides.first, side.receiveQueueCount > 1 {
      throw ControlError(
        .failedPrecondition, "a mirror takes the copies of one packet thread, and \(side.interface) has "
          + "\(side.receiveQueueCount) receive queues: set one (ethtool -L \(side.interface) combined 1, or rx 1 tx 1)")
    }
    choice.warnings = warnings(sides, choice, unable)
    return choice
  }

  private static let remedy = "for a veth, turn GRO on at its peer (ethtool -K PEER gro on) or attach an XDP program there"

  /// A packet thread carries one queue of both sides. What it sends leaves by the transmit queue of the same number: without
  /// one, the kernel takes packets and never sends them (net/xdp/xsk.c, __xsk_generic_xmit).
  private static func checkQueues(_ sides: [WireSideFacts]) throws(ControlError) {
    if let side = sides.first(where: { $0.transmitQueueCount < $0.receiveQueueCount }) {
      throw ControlError(
        .failedPrecondition,
        "\(side.interface) has \(side.receiveQueueCount) receive queues and \(side.transmitQueueCount) to transmit: the user "
          + "path needs as many (ethtool -L \(side.interface) tx \(side.receiveQueueCount))")
    }
    guard let first = sides.first, let other = sides.first(where: { $0.receiveQueueCount != first.receiveQueueCount })
    else { return }
    let count = min(first.receiveQueueCount, other.receiveQueueCount)
    throw ControlError(
      .failedPrecondition,
      "\(first.interface) has \(first.receiveQueueCount) receive queues and \(other.interface) has "
        + "\(other.receiveQueueCount): the user path needs equally many (ethtool -L INTERFACE combined \(count), or rx \(count) tx "
        + "\(count))")
  }

  private static func warnings(_ sides: [WireSideFacts], _ choice: WireChoice, _ unable: String?) -> [String] {
    var warnings: [String] = []
    if sides.count == 2, sides[0].mtu != sides[1].mtu {
      warnings.append(
        "\(sides[0].interface) has MTU \(sides[0].mtu) and \(sides[1].interface) \(sides[1].mtu): longer packets than the "
          + "lesser are lost, and nobody is told to send shorter ones")
    }
    if let unable, choice.path == .user {
      warnings.append(
        "\(unable) cannot transmit redirected packets now: should the daemon die, the wire carries nothing that way; "
          + remedy)
    }
    for side in sides where side.transmitsRedirected == nil {
      warnings.append("the kernel does not tell whether \(side.interface) transmits redirected packets (needs Linux 6.3)")
    }
    return warnings
  }
}
