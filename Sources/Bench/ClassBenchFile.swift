import Packets
import Rules

/// Rule sets as ClassBench's generator writes them (Taylor and Turner, "ClassBench: A Packet Classification Benchmark",
/// 2007), also with IPv6 prefixes: one rule a line, the first has the highest priority.
///
///     @SOURCE/LENGTH  DESTINATION/LENGTH  LOW : HIGH  LOW : HIGH  PROTOCOL/MASK  FLAGS/MASK
public enum ClassBenchFile {
  /// - Parameter text: Of TCP flags the low nine are read, and only in rules for TCP; ports only in rules for TCP, UDP or
  ///   any protocol, where the latter become rules for TCP and UDP. Actions take turns, drop first.
  public static func ruleSet(_ text: String, name: String) throws(BenchError) -> RuleSet {
    var rules: [Rule] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let words = line.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      if words.isEmpty { continue }
      guard rules.count < Limits.rulesMax else {
        throw BenchError("line \(index + 1): a rule set has at most \(Limits.rulesMax) rules")
      }
      do throws(ValueTextError) {
        guard let match = try match(words) else {
          throw ValueTextError(
            expected: "a ClassBench rule", text: String(line.prefix(80)),
            reason: "it is @PREFIX PREFIX LOW : HIGH LOW : HIGH PROTOCOL/MASK [FLAGS/MASK]")
        }
        rules.append(Rule(name: "r\(rules.count + 1)", match: match, action: rules.count % 2 == 0 ? .drop : .pass))
      } catch {
        throw BenchError("line \(index + 1): \(error)")
      }
    }
    return RuleSet(name: name, defaultAction: .pass, rules: rules)
  }

  /// Nil: the words don't make a rule.
  private static func match(_ words: [Substring]) throws(ValueTextError) -> Match? {
    guard words.count >= 9, words[0].hasPrefix("@"), words[3] == ":", words[6] == ":" else { return nil }
    guard let protocolTest = masked(words[8]), let flags = words.count > 9 ? masked(words[9]) : (0, 0) else { return nil }
    var match = Match()
    match.sources = try prefixes(words[0].dropFirst())
    match.destinations = try prefixes(words[1])
    let sourcePorts = try PortRange(parsing: "\(words[2])-\(words[4])")
    let destinationPorts = try PortRange(parsing: "\(words[5])-\(words[7])")
    let any = PortRange(low: 0, high: .max)
    let hasPorts = sourcePorts != any || destinationPorts != any
    if protocolTest.mask != 0 {
      match.protocols = [IPProtocol(rawValue: UInt8(truncatingIfNeeded: protocolTest.value))]
    } else if hasPorts {
      match.protocols = [.tcp, .udp]
    }
    if match.protocols.allSatisfy({ $0 == .tcp || $0 == .udp }) {
      if sourcePorts != any { match.sourcePorts = [sourcePorts] }
      if destinationPorts != any { match.destinationPorts = [destinationPorts] }
    }
    let mask = UInt16(truncatingIfNeeded: flags.mask) & 0x1ff
    if match.protocols.elements == [.tcp], mask != 0 {
      match.tcpFlags = [TCPFlagTest(set: UInt16(truncatingIfNeeded: flags.value) & mask, mask: mask)]
    }
    return match
  }

  private static func prefixes(_ text: Substring) throws(ValueTextError) -> Condition<IPPrefix> {
    let prefix = try IPPrefix(parsing: String(text))
    // Of IPv4 any address is no condition; of IPv6 it says the family.
    return prefix.length == 0 && prefix.address.family == .ipv4 ? [] : [prefix]
  }

  /// `0x06/0xFF`.
  private static func masked(_ text: Substring) -> (value: UInt32, mask: UInt32)? {
    let parts = text.split(separator: "/").map { $0.hasPrefix("0x") ? UInt32($0.dropFirst(2), radix: 16) : nil }
    guard parts.count == 2, let value = parts[0], let mask = parts[1] else { return nil }
    return (value, mask)
  }
}
