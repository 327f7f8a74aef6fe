import Foundation
import Packets
import Rules
import TestSupport
import Testing

@Suite("Rules as JSON")
struct JSONTests {
  private func decode<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> Value {
    try JSONDecoder().decode(type, from: Data(json.utf8))
  }

  /// The message of the decoding error.
  private func refusal<Value: Decodable>(_ type: Value.Type, _ json: String) throws -> String {
    let error = try #require(throws: DecodingError.self) { try decode(type, json) }
    switch error {
    case .dataCorrupted(let context), .keyNotFound(_, let context), .typeMismatch(_, let context),
      .valueNotFound(_, let context):
      return context.debugDescription
    @unknown default: return ""
    }
  }

  @Test("The whole form is read and written in snake_case")
  func whole() throws {
    var match = Match(
      sources: Condition([IPPrefix("10.0.0.0/8")!], isNegated: true), protocols: [.tcp],
      destinationPorts: [PortRange(23), PortRange(low: 8000, high: 8080)])
    match.tcpFlags = [TCPFlagTest(set: 2, mask: 0x12)]
    match[.hopLimits] = [NumberRange(low: 1, high: 5)]
    match.hasOptions = false
    let rule = Rule(
      name: "drop-telnet", match: match, action: .redirect(interface: "eth1"), comment: "c", isEnabled: false)
    let json = """
      {"name":"drop-telnet","match":{"sources":{"not":["10.0.0.0/8"]},"protocols":["tcp"],
      "destination_ports":["23","8000-8080"],"tcp_flags":["syn/syn|ack"],"hop_limits":["1-5"],"options":["absent"]},"action":"redirect","redirect_to":"eth1","comment":"c","enabled":false}
      """
    #expect(try decode(Rule.self, json) == rule)
    let written = try JSONSerialization.jsonObject(with: JSONEncoder().encode(rule)) as? NSDictionary
    #expect(written == (try JSONSerialization.jsonObject(with: Data(json.utf8)) as? NSDictionary))
  }

  @Test("Missing fields have their defaults")
  func defaults() throws {
    #expect(try decode(Rule.self, #"{"name":"a","action":"drop"}"#) == Rule(name: "a", action: .drop))
    #expect(try decode(Rule.self, #"{"name":"a","action":"drop","match":{}}"#) == Rule(name: "a", action: .drop))
    #expect(
      try decode(Rule.self, #"{"name":"a","action":"drop","match":{"sources":null},"redirect_to":null,"position":3}"#)
        == Rule(name: "a", action: .drop))
    #expect(try decode(RuleSet.self, #"{"name":"a"}"#) == RuleSet(name: "a"))
    let set = try decode(
      RuleSet.self,
      #"{"name":"a","malformed":"pass","malformed_exceptions":{"bad_tcp":"drop"},"default_action":"drop"}"#)
    #expect(set.malformed == MalformedPolicy(fate: .pass, exceptions: [.badTCP: .drop]))
    #expect(set.defaultAction == .drop)
  }

  @Test("Malformed exceptions are an object")
  func exceptions() throws {
    let set = RuleSet(name: "a", malformed: .init(exceptions: [.badUDP: .pass]))
    let json = String(decoding: try JSONEncoder().encode(set), as: UTF8.self)
    #expect(json.contains(#""malformed_exceptions":{"bad_udp":"pass"}"#))
  }

  @Test(
    "Wrong rules are refused, and the message names the fault",
    arguments: [
      (#"{"name":"a","action":"drop","match":{"destination_port":["23"]}}"#, "destination_port"),
      (#"{"name":"a","action":"drop","mach":{}}"#, "mach"),
      (#"{"name":"a","action":"DROP"}"#, "actions are pass"),
      (#"{"name":"a","action":"redirect"}"#, "redirect_to"),
      (#"{"name":"a","action":"drop","redirect_to":"eth0"}"#, "only a redirect"),
      (#"{"name":"a","action":"drop","match":{"destination_ports":["70000"]}}"#, "65535"),
      (#"{"name":"a","action":"drop","match":{"sources":["10.0.0.1/8"]}}"#, "10.0.0.0/8"),
      (#"{"name":"a","action":"drop","match":{"protocols":["tpc"]}}"#, "IP protocol"),
      (#"{"name":"a"}"#, "action"), (#"{"action":"drop"}"#, "name"),
      (#"{"name":"a","action":"drop","match":{"destination_ports":[23]}}"#, "String"),
      (#"{"name":"a","action":"drop","enabled":"yes"}"#, "Bool"),
      (#"[]"#, ""), (#""rule""#, ""), ("null", ""),
    ])
  func wrong(_ json: String, _ part: String) throws {
    let message = try refusal(Rule.self, json)
    #expect(part.isEmpty || message.contains(part), "\(message)")
  }

  @Test("Lists beyond the limits are refused while they are read")
  func limits() throws {
    let ports = (0...64).map { "\"\($0)\"" }.joined(separator: ",")
    let rule = #"{"name":"a","action":"drop","match":{"protocols":["tcp"],"source_ports":[\#(ports)]}}"#
    #expect(try refusal(Rule.self, rule).contains("64"))
    let rules = (0...Limits.rulesMax).map { #"{"name":"r\#($0)","action":"drop"}"# }.joined(separator: ",")
    #expect(try refusal(RuleSet.self, #"{"name":"a","rules":[\#(rules)]}"#).contains("\(Limits.rulesMax)"))
  }

  @Test("Any rule set comes back from JSON as it was")
  func roundTrip() throws {
    var random = SeededGenerator(announcing: "JSONTests.roundTrip")
    for _ in 0..<300 {
      let set = RandomCases.ruleSet(using: &random)
      #expect(try JSONDecoder().decode(RuleSet.self, from: JSONEncoder().encode(set)) == set, "seed \(random.seed)")
    }
  }
}
