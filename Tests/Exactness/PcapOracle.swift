import Glibc
import LinuxSystem
import Packets
import Rules

/// Decides by libpcap: each rule becomes a filter, and tcpdump says which packets of a file it lets through.
enum PcapOracle {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// For each frame the index of the first rule that decides about it; nil: none does.
  static func decide(_ frames: [[UInt8]], by ruleSet: RuleSet) throws -> [Int?] {
    let folder = "/tmp/sluice-exactness-\(getpid())"
    mkdir(folder, 0o700)
    defer {
      for name in ["all", "some", "errors"] { unlink("\(folder)/\(name)") }
      rmdir(folder)
    }
    try SmallFile.replace("\(folder)/all", with: pcap(frames))
    var deciders = [Int?](repeating: nil, count: frames.count)
    for (index, rule) in ruleSet.rules.enumerated() where rule.isEnabled && rule.action != .count {
      let filter = try filter(for: rule.match)
      let status = try ChildProcess(
        ["tcpdump", "-Z", "root", "-r", "\(folder)/all", "-w", "-", filter], output: .file("\(folder)/some"),
        errors: .file("\(folder)/errors")
      ).wait()
      guard status == 0 else {
        throw Failure(description: "tcpdump \"\(filter)\": \(try SmallFile.readText("\(folder)/errors"))")
      }
      for number in try numbers(SmallFile.read("\(folder)/some")) where deciders[number] == nil { deciders[number] = index }
    }
    return deciders
  }

  /// pcap-filter(7) of a match's addresses, one protocol and ports: what ``TestSupport/LargeRuleSet`` uses.
  private static func filter(for match: Match) throws -> String {
    let family: IPFamily? = (match.sources.elements + match.destinations.elements).first?.family
    var terms = [family == .ipv6 ? "ip6" : family == .ipv4 ? "ip" : "(ip or ip6)"]
    func condition<Element>(_ condition: Condition<Element>, _ text: (Element) -> String) throws {
      guard !condition.isNegated, condition.sets.isEmpty else { throw Failure(description: "no filter for \(condition)") }
      if !condition.elements.isEmpty { terms.append("(" + condition.elements.map(text).joined(separator: " or ") + ")") }
    }
    try condition(match.sources) { "src net \($0)" }
    try condition(match.destinations) { "dst net \($0)" }
    try condition(match.protocols) {
      family == .ipv6 ? "ip6 proto \($0.rawValue)"
        : family == .ipv4 ? "ip proto \($0.rawValue)" : "(ip proto \($0.rawValue) or ip6 proto \($0.rawValue))"
    }
    try condition(match.sourcePorts) { "src portrange \($0.low)-\($0.high)" }
    try condition(match.destinationPorts) { "dst portrange \($0.low)-\($0.high)" }
    var rest = match
    (rest.sources, rest.destinations, rest.protocols) = ([], [], [])
    (rest.sourcePorts, rest.destinationPorts) = ([], [])
    guard rest == Match() else { throw Failure(description: "libpcap has no filter for all of \(match)") }
    return terms.joined(separator: " and ")
  }

  /// A capture file of Ethernet frames whose seconds are their numbers (pcap-savefile(5)).
  private static func pcap(_ frames: [[UInt8]]) -> [UInt8] {
    var bytes: [UInt8] = []
    func append(_ words: UInt32...) {
      for word in words { withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) } }
    }
    append(0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65535, 1)
    for (number, frame) in frames.enumerated() {
      append(UInt32(number), 0, UInt32(frame.count), UInt32(frame.count))
      bytes += frame
    }
    return bytes
  }

  /// The numbers of the frames in such a file.
  private static func numbers(_ bytes: [UInt8]) -> [Int] {
    func word(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << ($1 * 8) } }
    var numbers: [Int] = []
    var offset = 24
    while offset + 16 <= bytes.count {
      numbers.append(word(offset))
      offset += 16 + word(offset + 8)
    }
    return numbers
  }
}
