import Packets

/// One flow as it is asked for: `protocol=udp,source=198.18.0.0/24,destination-port=53,count=1000`.
///
/// How its ranges are walked says ``walk``: side by side where nothing else is asked.
public struct FlowSpecification: Hashable, Sendable {
  public enum Transport: String, Hashable, Sendable, CaseIterable {
    case udp, tcp, icmp, icmpv6
    public var hasPorts: Bool { self == .udp || self == .tcp }
  }

  /// Which addresses and ports stand together in a frame.
  public enum Walk: String, Hashable, Sendable, CaseIterable {
    /// Side by side: frame k takes the k-th address and port of each range, round and round.
    case together
    /// Every source with every destination, source ports changing fastest.
    case all
    /// As ``all``, in an order that the run's seed decides.
    case random
  }

  /// Nil: named after its place.
  public var name: String?
  public var transport: Transport
  /// Of the same family as `destination`.
  public var source: AddressRange
  public var destination: AddressRange
  /// Nil: 1024, or as many from there as the run asks for. Nil for ICMP.
  public var sourcePorts: PortRange?
  /// Nil: 9, discard. Nil for ICMP.
  public var destinationPorts: PortRange?
  /// Nil: the run's.
  public var frameSizes: FrameSizes?
  public var walk = Walk.together
  public var vlan: UInt16?
  /// Packets in all; nil: by weight.
  public var packetCount: UInt64?
  /// Nil: 1.
  public var weight: Int?

  public static let keys = [
    "protocol", "source", "destination", "source-port", "destination-port", "size", "vlan", "count", "weight", "name",
    "walk",
  ]

  /// UDP from 198.18.0.1:1024 to 198.19.0.1:9 (addresses of RFC 2544, kept for measurements).
  public init() {
    transport = .udp
    (source, destination) = Self.standardEnds(.ipv4)
  }

  /// `key=value` pairs separated by commas; see ``keys``.
  public init(parsing text: String) throws(TrafficError) {
    let fields = try Self.fields(text)
    func value<Value>(_ key: String, _ parse: (String) throws(TrafficError) -> Value) throws(TrafficError) -> Value? {
      guard let text = fields[key] else { return nil }
      do throws(TrafficError) {
        return try parse(text)
      } catch {
        throw TrafficError("flow's \(key): \(error.description)")
      }
    }
    let transport = try value("protocol", Self.transport)
    let source = try value("source") { text throws(TrafficError) in try AddressRange(parsing: text) }
    let destination = try value("destination") { text throws(TrafficError) in try AddressRange(parsing: text) }
    let family = source?.family ?? destination?.family ?? (transport == .icmpv6 ? .ipv6 : .ipv4)
    self.transport = transport ?? .udp
    self.source = source ?? Self.standardEnds(family).source
    self.destination = destination ?? Self.standardEnds(family).destination
    sourcePorts = try value("source-port") { text throws(TrafficError) in try PortRange(parsing: text) }
    destinationPorts = try value("destination-port") { text throws(TrafficError) in try PortRange(parsing: text) }
    frameSizes = try value("size") { text throws(TrafficError) in try FrameSizes(parsing: text) }
    walk = try value("walk", Self.walk) ?? .together
    vlan = try value("vlan", Self.number(1...4094)).map { UInt16($0) }
    packetCount = try value("count", Self.number(1...TrafficLimits.packetCountMax))
    weight = try value("weight", Self.number(1...UInt64(TrafficLimits.weightMax))).map { Int($0) }
    name = try value("name", Self.name)
    try checkCoherence()
  }

  private func checkCoherence() throws(TrafficError) {
    guard source.family == destination.family else {
      throw TrafficError("flow's source \(source) and destination \(destination) are of two families")
    }
    if transport == .icmp && source.family == .ipv6 {
      throw TrafficError("flow of protocol icmp has IPv6 addresses: write icmpv6")
    }
    if transport == .icmpv6 && source.family == .ipv4 {
      throw TrafficError("flow of protocol icmpv6 has IPv4 addresses: write icmp")
    }
    if !transport.hasPorts && (sourcePorts ?? destinationPorts) != nil {
      throw TrafficError("flow of protocol \(transport.rawValue) has no ports")
    }
    if packetCount != nil && weight != nil {
      throw TrafficError("flow has a count and a weight: a weight shares a total, a count is exact; give one of them")
    }
  }
}

extension FlowSpecification {
  private static func fields(_ text: String) throws(TrafficError) -> [String: String] {
    guard text.utf8.count <= TrafficLimits.specificationCharacterCountMax else {
      throw TrafficError("a flow has at most \(TrafficLimits.specificationCharacterCountMax) characters")
    }
    var fields: [String: String] = [:]
    for field in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, !parts[1].isEmpty else {
        throw TrafficError(
          "\"\(ValueTextError.excerpt(String(field)))\" in a flow is no key=value: write for example "
            + "protocol=udp,source=10.0.0.0/24,destination-port=53")
      }
      guard keys.contains(parts[0]) else {
        throw TrafficError(
          "a flow has no \"\(ValueTextError.excerpt(parts[0]))\"; it has \(keys.joined(separator: ", "))")
      }
      guard fields.updateValue(parts[1], forKey: parts[0]) == nil else {
        throw TrafficError("a flow names \(parts[0]) twice")
      }
    }
    return fields
  }

  private static func standardEnds(_ family: IPFamily) -> (source: AddressRange, destination: AddressRange) {
    switch family {
    case .ipv4: (AddressRange(.v4(IPv4Address(198, 18, 0, 1))), AddressRange(.v4(IPv4Address(198, 19, 0, 1))))
    case .ipv6:  // 2001:2::/48, RFC 5180
      (
        AddressRange(.v6(IPv6Address(value: 0x2001_0002 << 96 | 1))),
        AddressRange(.v6(IPv6Address(value: 0x2001_0002 << 96 | 1 << 64 | 1)))
      )
    }
  }

  private static func transport(_ text: String) throws(TrafficError) -> Transport {
    guard let transport = Transport(rawValue: text) else {
      throw TrafficError(
        "\"\(ValueTextError.excerpt(text))\" cannot be made; there are "
          + Transport.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return transport
  }

  private static func walk(_ text: String) throws(TrafficError) -> Walk {
    guard let walk = Walk(rawValue: text) else {
      throw TrafficError(
        "\"\(ValueTextError.excerpt(text))\" is no way to walk ranges; there are "
          + Walk.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return walk
  }

  private static func number(_ range: ClosedRange<UInt64>) -> (String) throws(TrafficError) -> UInt64 {
    { text throws(TrafficError) in
      guard let value = decimal(text, in: range) else {
        throw TrafficError(
          "\"\(ValueTextError.excerpt(text))\" is no whole number from \(range.lowerBound) to \(range.upperBound)")
      }
      return value
    }
  }

  private static func name(_ text: String) throws(TrafficError) -> String {
    let isFine = text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || byte == 0x2d || byte == 0x2e || byte == 0x5f
    }
    guard isFine, text.utf8.count <= 64 else {
      throw TrafficError("a name has at most 64 letters, digits, \"-\", \".\" and \"_\"")
    }
    return text
  }
}
