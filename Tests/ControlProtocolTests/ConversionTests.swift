import Packets
import Rules
import Testing

@testable import ControlProtocol

@Suite("Conversions between messages and rules")
struct ConversionTests {
  private static let full = RuleSet(
    name: "edge", revision: 7, defaultAction: .drop,
    malformed: MalformedPolicy(fate: .pass, exceptions: [.badTCP: .drop, .truncatedIPv6: .drop]),
    rules: [
      Rule(
        name: "web",
        match: Match(
          sources: [IPPrefix("192.0.2.0/24")!, IPPrefix("198.51.100.7")!],
          destinations: [IPPrefix("2001:db8::/32")!], protocols: [.tcp, .udp],
          sourcePorts: [PortRange(low: 1024, high: 65535)],
          destinationPorts: [PortRange(443), PortRange(low: 8000, high: 8080)]),
        action: .redirect(interface: "eth1"), comment: "to the proxies", isEnabled: false,
        tags: ["lab"], owner: "net ops"),
      Rule(name: "seen", action: .count), Rule(name: "look", action: .capture),
      Rule(name: "stop", action: .drop, expiry: .at(unixMilliseconds: 1_795_275_527_961)),
      Rule(name: "first", action: .drop, expiry: .at(unixMilliseconds: 0)),
      Rule(name: "go", action: .pass, expiry: .after(seconds: 60)),
    ], sets: [ConversionTests.counting])

  private static var counting: NamedSet {
    var set = NamedSet(name: "bad", family: .ipv4, prefixes: [IPPrefix("192.0.2.0/24")!])
    set.hasCounters = true
    return set
  }

  @Test("A rule set survives the way to the wire and back")
  func roundTrip() throws {
    let bytes: [UInt8] = try Sluice_Control_V1_RuleSet(Self.full).serializedBytes()
    #expect(try RuleSet(Sluice_Control_V1_RuleSet(serializedBytes: bytes)) == Self.full)
  }

  @Test("Conditions on any field, negated ones among them, survive the way to the wire and back")
  func conditions() throws {
    var match = Match(sources: Condition([IPPrefix("192.0.2.0/24")!], isNegated: true), protocols: [.tcp])
    match[.vlanIDs] = Condition([NumberRange(7), NumberRange(low: 100, high: 199)], isNegated: true)
    match.tcpFlags = [TCPFlagTest("syn/syn|ack")!]
    match.interfaces = ["eth0"]
    match.hasOptions = false
    let bytes: [UInt8] = try Sluice_Control_V1_Match(match).serializedBytes()
    #expect(try Match(Sluice_Control_V1_Match(serializedBytes: bytes)) == match)
  }

  @Test("A match that asks for something unknown is refused: without it, it would match more")
  func unknownFields() throws {
    // Field 15, a text.
    let match: [UInt8] = [0x7a, 1, 0x78]
    #expect(throws: FieldError.self) { try Match(Sluice_Control_V1_Match(serializedBytes: match)) }
    let condition: [UInt8] = [0x32, 9, 0x0a, 1, 0x78, 0x12, 1, 0x37, 0x7a, 1, 0x78]
    let error = #expect(throws: FieldError.self) { try Match(Sluice_Control_V1_Match(serializedBytes: condition)) }
    #expect(error?.path == "match.conditions[0]")
  }

  @Test("A rule with two ends, or with something unknown, is refused: it would mean less than its author wrote")
  func unknownInRule() throws {
    #expect(throws: FieldError.self) {
      try Rule(.with { ($0.name, $0.action, $0.ttlSeconds, $0.expiresAtUnixMillis) = ("r", .drop, 5, 7) })
    }
    let later: [UInt8] = try Sluice_Control_V1_Rule.with { ($0.name, $0.action) = ("r", .drop) }.serializedBytes()
    #expect(throws: FieldError.self) { try Rule(Sluice_Control_V1_Rule(serializedBytes: later + [0x7a, 1, 0x78])) }
  }

  @Test("What a message leaves out is: pass by default, drop malformed, enabled, match everything")
  func defaults() throws {
    let ruleSet = try RuleSet(
      .with {
        $0.name = "s"
        $0.rules = [.with { ($0.name, $0.action) = ("r", .drop) }]
      })
    #expect(ruleSet == RuleSet(name: "s", rules: [Rule(name: "r", action: .drop)]))
  }

  struct Fault: Sendable, CustomTestStringConvertible {
    var path: String
    var mentions: String
    var make: @Sendable (inout Sluice_Control_V1_RuleSet) -> Void
    var testDescription: String { path }
  }

  private static let faults: [Fault] = [
    Fault(path: "rule_set.rules[1].match.sources[0]", mentions: "10.0.0.0/8") {
      $0.rules[1].match.sources = ["10.0.0.1/8"]
    },
    Fault(path: "rule_set.rules[0].match.destinations[2]", mentions: "prefix") {
      $0.rules[0].match.destinations = ["::1", "10.0.0.0/8", "300.0.0.1"]
    },
    Fault(path: "rule_set.rules[0].match.protocols[0]", mentions: "tcp") { $0.rules[0].match.protocols = ["TCP"] },
    Fault(path: "rule_set.rules[0].match.source_ports[0]", mentions: "65535") {
      $0.rules[0].match.sourcePorts = ["70000"]
    },
    Fault(path: "rule_set.rules[0].match.destination_ports[0]", mentions: "80-90") {
      $0.rules[0].match.destinationPorts = ["90-80"]
    },
    Fault(path: "rule_set.rules[0].match.sources", mentions: "64") {
      $0.rules[0].match.sources = Array(repeating: "10.0.0.1", count: 65)
    },
    Fault(path: "rule_set.rules[0].match.conditions[0]", mentions: "vlan_ids") {
      $0.rules[0].match.conditions = [.with { ($0.field, $0.elements) = ("vlan", ["7"]) }]
    },
    Fault(path: "rule_set.rules[0].match.conditions[0].elements[1]", mentions: "4095") {
      $0.rules[0].match.conditions = [.with { ($0.field, $0.elements) = ("vlan_ids", ["7", "4096"]) }]
    },
    Fault(path: "rule_set.rules[0].match.conditions[0].elements", mentions: "empty") {
      $0.rules[0].match.conditions = [.with { ($0.field, $0.negated) = ("vlan_ids", true) }]
    },
    Fault(path: "rule_set.rules[0].match.conditions[0]", mentions: "64") {
      $0.rules[0].match.conditions = [.with { ($0.field, $0.elements) = ("dscp", Array(repeating: "7", count: 65)) }]
    },
    Fault(path: "rule_set.rules[0].match.conditions[0].field", mentions: "already") {
      $0.rules[0].match.sources = ["10.0.0.1"]
      $0.rules[0].match.conditions = [.with { ($0.field, $0.elements) = ("sources", ["10.0.0.2"]) }]
    },
    Fault(path: "rule_set.rules[1].name", mentions: "missing") { $0.rules[1].name = "" },
    Fault(path: "rule_set.rules[1].action", mentions: "missing") { $0.rules[1].action = .unspecified },
    Fault(path: "rule_set.rules[1].action", mentions: "99") { $0.rules[1].action = .UNRECOGNIZED(99) },
    Fault(path: "rule_set.rules[1].redirect_interface", mentions: "ACTION_REDIRECT") {
      $0.rules[1].action = .redirect
    },
    Fault(path: "rule_set.rules[1].redirect_interface", mentions: "only") { $0.rules[1].redirectInterface = "eth0" },
    Fault(path: "rule_set.default_action", mentions: "17") { $0.defaultAction = .UNRECOGNIZED(17) },
    Fault(path: "rule_set.malformed", mentions: "-1") { $0.malformed = .UNRECOGNIZED(-1) },
    Fault(path: "rule_set.malformed_exceptions[\"bad?luck\"]", mentions: "bad_tcp") {
      $0.malformedExceptions = ["bad\nluck": .drop]
    },
    Fault(path: "rule_set.malformed_exceptions[\"bad_tcp\"]", mentions: "FATE_PASS") {
      $0.malformedExceptions = ["bad_tcp": .unspecified]
    },
    Fault(path: "rule_set.rules", mentions: "\(Limits.rulesMax)") {
      $0.rules = Array(repeating: $0.rules[0], count: Limits.rulesMax + 1)
    },
  ]

  @Test("A field that isn't understood is refused with its path", arguments: faults)
  func refuse(_ fault: Fault) throws {
    var message = Sluice_Control_V1_RuleSet.with {
      $0.name = "s"
      $0.rules = ["a", "b"].map { name in .with { ($0.name, $0.action) = (name, .drop) } }
    }
    fault.make(&message)
    let error = try #require(throws: FieldError.self) { try RuleSet(message) }
    #expect(error.path == fault.path)
    #expect(error.reason.contains(fault.mentions), "\(error)")
    #expect(error.rpcErrorCode == .invalidArgument)
  }
}
