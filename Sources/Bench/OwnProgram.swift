import LinuxSystem
import RuleCompiler
import Rules
import XDPPrograms

/// Sluice's XDP program on an interface, deciding by a few rules, as the daemon attaches it.
enum OwnProgram {
  /// The one rule's slot where there is one.
  static let slot: UInt32 = 1

  static func attach(
    to interface: NetworkInterface, defaultAction: Fate = .pass, rules: [Rule] = []
  ) throws -> InterfaceProgram {
    let generation = try compile(
      RuleSet(name: "bench", defaultAction: defaultAction, rules: rules), slots: { _ in slot },
      interfaceIndex: { _ in nil }, generation: 1, captureFallback: .drop)
    let program = try generation.withUnsafeBytes { bytes in
      try InterfaceProgram(
        interface: interface.name, index: interface.index, options: AttachOptions(mode: .native), pins: nil,
        generation: bytes)
    }
    return program
  }

  /// Rules that take the place of those it decides by, with slots of their own.
  static func replaceRules(of program: InterfaceProgram, by generation: CompiledGeneration) throws {
    try generation.withUnsafeBytes { try program.publish($0, redirectTargets: []) }
  }

  /// A counter slot of its own for each rule, by its place.
  static func slots(of ruleSet: RuleSet) -> [String: UInt32] {
    Dictionary(
      ruleSet.countedRules.enumerated().map { ($0.element.name, UInt32($0.offset + 1)) },
      uniquingKeysWith: { a, _ in a })
  }

  /// Every packet to user space.
  static let captureAll = [Rule(name: "all", action: .capture)]
}
