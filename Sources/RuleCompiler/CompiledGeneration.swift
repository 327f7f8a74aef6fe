import CSluiceABI
import Rules

/// One generation, ready for the program's tables: a `struct sluice_generation` (sluice_abi.h), its rules and its trees.
public struct CompiledGeneration: Hashable, Sendable {
  /// In this machine's byte order. Everything in it is relative to its begin, which must lie on a multiple of
  /// SLUICE_TABLES_HEADER_BYTES.
  public let words: [UInt64]
  public let generation: UInt64
  /// Entries of all rules, each counted once also where it is in several trees.
  public let entryCount: Int
  /// Names of the enabled rules, by their index.
  public let ruleNames: [String]
  /// The most steps that any packet's walk takes, proven; at most SLUICE_STEPS_MAX.
  public let stepsMax: Int
  /// What the program must read from packets: of `enum sluice_feature`.
  public let features: UInt8

  /// The bytes, valid during the call.
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let span = words.span
    return try unsafe span.withUnsafeBytes(body)
  }

  /// Builds the trees and proves their bounds.
  init(
    header: GenerationHeader, rules: [sluice_rule], forest: Forest, entryCount: Int, ruleNames: [String]
  ) throws(CompileError) {
    precondition(rules.count == ruleNames.count)
    var generation = header.abiGeneration
    generation.rule_count = UInt32(rules.count)
    let headerWordCount = MemoryLayout<sluice_generation>.size / 8
    var words = [UInt64](repeating: 0, count: headerWordCount)
    for rule in rules {
      words += [UInt64(rule.slot) | UInt64(rule.redirect_ifindex) << 32, UInt64(rule.action)]
    }
    features = forest.features
    generation.features = features
    generation.slot_count = (rules.map(\.slot).max() ?? 0) + 1
    // A program that reads link words does so for every record.
    while words.count % 4 != 0 { words.append(0) }
    let emptyLink = UInt64(words.count / 4)
    words += [0, 0, 0, 0]
    let ipv4 = CutTreeBuilder.build(forest.ipv4, layout: .ipv4, emptyLink: emptyLink, appendingTo: &words)
    let ipv6 = CutTreeBuilder.build(forest.ipv6, layout: .ipv6, emptyLink: emptyLink, appendingTo: &words)
    let other = CutTreeBuilder.build(forest.other, layout: .ipv4, emptyLink: emptyLink, appendingTo: &words)
    generation.roots = (ipv4.slot, ipv6.slot, other.slot)
    let trees = [ipv4, ipv6, other]
    stepsMax = trees.map(\.stepsMax).max() ?? 0
    let pendingMax = trees.map(\.pendingMax).max() ?? 0
    let byteCount = words.count * 8
    guard stepsMax <= Int(SLUICE_STEPS_MAX), pendingMax < Int(SLUICE_PENDING_SLOTS),
      byteCount <= CompiledGeneration.byteCountMax
    else { throw .tooComplex(steps: stepsMax, pending: pendingMax, byteCount: byteCount) }
    var span = words.mutableSpan
    var raw = span.mutableBytes
    raw.storeBytes(of: generation, as: sluice_generation.self)
    self.words = words
    self.generation = header.generation
    self.ruleNames = ruleNames
    self.entryCount = entryCount
  }

  /// Two generations fit into the largest tables beside each other.
  public static var byteCountMax: Int {
    (Int(SLUICE_TABLES_BYTES_MAX) - Int(SLUICE_TABLES_HEADER_BYTES)) / 2 / 128 * 128
  }
}

/// What a generation says beside its rules.
struct GenerationHeader {
  var generation: UInt64
  var defaultAction: Fate
  var captureFallback: Fate
  var malformed: MalformedPolicy

  var abiGeneration: sluice_generation {
    var result = sluice_generation()
    result.abi_version = UInt32(SLUICE_ABI_VERSION)
    result.generation = generation
    result.default_action = defaultAction.abiAction
    result.capture_fallback = captureFallback.abiAction
    func action(_ index: Int) -> UInt8 { malformed.abiAction(at: index) }
    result.malformed_action = (
      action(0), action(1), action(2), action(3), action(4), action(5), action(6), action(7), action(8), action(9),
      action(10), action(11), action(12), action(13), action(14), action(15)
    )
    return result
  }
}
