import Foundation
import LinuxSystem

extension Arena {
  /// Packets a second that a filter with rules looks at and drops, all by its rules, while the sender sends as fast as it
  /// can on the same CPU; and how long the rules took to apply.
  func filter(_ name: String) throws -> Sample {
    guard let ruleCount = work.filterRuleCount else { throw BenchError("\(work.rawValue) has no rules") }
    let cable = try Cable(0)
    // Without an XDP program a veth takes frames if it has GRO; the stack drops what is for other stations.
    try Shell.run("ethtool -K \(cable.near) gro on; ip link set \(cable.near) address \(FilterLoad.destinationMAC)")
    let filter = try apply(try contestant(name), FilterLoad(ruleCount: ruleCount), cable.near)
    defer { filter.remove() }
    let count = { try Cable.statistics(cable.near).rxPackets }
    let before = try count()
    let load = try startLoad(cable.far, ["--rules", "\(ruleCount)"])
    try load.wait(for: "packets arrived") { ((try? count()) ?? before) > before }
    var sample = Sample(["rate": try packetsPerSecond(count)])
    load.stop()
    usleep(100_000)  // what is on its way arrives
    let arrived = try count() - before
    if let nanoseconds = filter.nanoseconds { sample.values["apply"] = Double(nanoseconds) }
    guard let child = filter.child else { return sample }
    child.stop()
    // Every packet that came in must have been counted by a rule.
    if let counted = Subject.Account(output: child.output)?.packets, filter.nanoseconds != nil {
      (sample.lost, sample.unexplained) = (0, Int64(arrived) - Int64(counted))
    }
    return sample
  }

  /// A filter that is at work.
  private struct AppliedFilter {
    /// Until its rules decided; nil for none without rules.
    var nanoseconds: UInt64?
    /// What runs meanwhile.
    var child: Child?
    /// What takes it away again.
    var removal = ""

    func remove() { if !removal.isEmpty { _ = try? Shell.run(removal) } }
  }

  private func apply(_ contestant: Contestant, _ load: FilterLoad, _ interface: String) throws -> AppliedFilter {
    guard case .peer(let tool) = contestant.executable else {
      let child = try start(contestant)
      let words = child.output.split(whereSeparator: \.isWhitespace)
      let place = words.firstIndex { $0 == Subject.appliedText }
      return AppliedFilter(nanoseconds: place.flatMap { UInt64(words[$0 + 1]) }, child: child)
    }
    guard let path = peers.paths[tool] else { throw BenchError("\(tool.rawValue) is missing") }
    let (input, removal) = load.input(of: contestant.name, program: path, interface: interface)
    let file = "\(Enclosure.folder)/filter.input"
    try input.write(toFile: file, atomically: false, encoding: .utf8)
    defer { unlink(file) }
    let command = tool == .xdpFilter ? "sh -e" : ([path] + contestant.arguments).joined(separator: " ")
    let start = SystemClock.monotonicNanoseconds()
    try Shell.run("\(command) \(file)")
    return AppliedFilter(nanoseconds: SystemClock.monotonicNanoseconds() - start, removal: removal)
  }
}

extension FilterLoad {
  /// The rules as a program wants them, and what takes them away again.
  fileprivate func input(of name: String, program: String, interface: String) -> (input: String, removal: String) {
    switch name {
    case "nft": (nftRules(interface: interface), "'\(program)' delete table netdev bench")
    case "nft map": (nftMap(interface: interface), "'\(program)' delete table netdev bench")
    case "iptables": (iptablesRules, "printf '*raw\\nCOMMIT\\n' | '\(program)'")
    default: (xdpFilterCommands(program: program, interface: interface), "'\(program)' unload --all")
    }
  }
}
