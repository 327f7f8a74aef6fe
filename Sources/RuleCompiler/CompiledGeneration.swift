import CSluiceABI
import Rules

/// One generation, ready for the program's tables: a `struct sluice_generation` (sluice_abi.h) and its trees.
public struct CompiledGeneration: Hashable, Sendable {
  /// In this machine's byte order. It lies SLUICE_TABLES_HEADER_BYTES behind the begin of its half of the tables, from where
  /// its indices count.
  public private(set) var words: [UInt64]
  public let generation: UInt64
  /// Entries of all rules, each counted once also where it is in several trees.
  public let entryCount: Int
  /// Names of the enabled rules, by their index; one in a chain as often as the chain is led to.
  public let ruleNames: [String]
  /// The most steps that any packet's walk takes, proven; at most SLUICE_STEPS_MAX.
  public let stepsMax: Int
  /// What the program must read from packets: of `enum sluice_feature`.
  public let features: UInt8
  /// Where the large sets are; nil: it has none.
  let sets: SetPlaces?
  /// Which they are.
  let large: [String: LargeSets.Place]
  /// By index as ``ruleNames``: the rules of the rule set's own list that they are, or that lead to them.
  let listedNames: [String]
  /// Interface indices of redirects, as labels count them.
  let targets: [UInt32]
  /// Rules behind which packets go on, and how many there may be.
  let passCount: Int
  let passCountMax: Int
  /// Whether the bounds hold, too, when ``GenerationEditor`` inserts rules.
  public private(set) var isEditable: Bool

  /// The sets that packets are looked up in, so that rules that ask for them have not their elements as entries.
  public var largeSetNames: Set<String> { Set(large.keys) }

  /// Entries that a rule takes here at most, as ``EditedRule`` has it.
  public func entryCount(of rule: Rule) -> Int { rule.entryCount(LargeSets(places: large)) }

  /// Takes over what was changed since it was put into the tables.
  ///
  /// - Parameter editor: What changed rules there: no other will, since names and priorities are no longer as they were compiled.
  public mutating func refresh(from memory: some TableMemory, changedBy editor: GenerationEditor? = nil) {
    let first = Int(SLUICE_TABLES_HEADER_BYTES) / 8
    if let editor {
      words += repeatElement(0, count: max(0, editor.wordEnd - first - words.count))
      isEditable = false
    }
    for index in words.indices { words[index] = memory.word(first + index) }
  }

  /// The bytes, valid during the call.
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let span = words.span
    return try unsafe span.withUnsafeBytes(body)
  }

  /// Builds the trees and proves their bounds.
  ///
  /// - Parameter counting: Which of the sets count for which rules.
  init(
    header: GenerationHeader, forest: Forest, large: LargeSets = LargeSets(), counting: CountedSets = CountedSets(),
    entryCount: Int, ruleNames: [String], listedNames: [String]
  ) throws(CompileError) {
    var generation = header.abiGeneration
    generation.rule_count = UInt32(ruleNames.count)
    features = forest.features | (header.passesMax > 0 ? UInt8(SLUICE_FEATURE_COUNT.rawValue) : 0)
      | (counting.isNeeded ? UInt8(SLUICE_FEATURE_ELEMENT_COUNTERS.rawValue) : 0)
    generation.features = features
    generation.counted_elements = UInt32(counting.elementCount)
    // The header of its half first, so that indices count from the right place; it goes away at the end.
    let headerWordCount = Int(SLUICE_TABLES_HEADER_BYTES) / 8
    var words = [UInt64](repeating: 0, count: headerWordCount + MemoryLayout<sluice_generation>.size / 8)
    // A program that reads link words does so for every record.
    let emptyLink = UInt64(words.count / 8)
    words += repeatElement(0, count: 8)
    generation.sets = UInt32(emptyLink)  // as a struct sluice_sets it says that there are none
    var places: SetPlaces?
    if !large.sets.isEmpty {
      let line = words.count / 8
      generation.sets = UInt32(line)
      let tables = try SetTables(large.sets, at: line)
      words += tables.words
      places = tables.places
      if counting.isNeeded {
        let line = words.count / 8
        generation.counted = UInt32(line)
        generation.counted_slots = UInt32(counting.slotWords.count)
        words += counting.words(of: large.sets)
        places?.counted = line * SetForm.lineWordCount
      }
    }
    self.sets = places
    let ipv4 = CutTreeBuilder.build(forest.ipv4, layout: .ipv4, emptyLink: emptyLink, appendingTo: &words)
    let ipv6 = CutTreeBuilder.build(forest.ipv6, layout: .ipv6, emptyLink: emptyLink, appendingTo: &words)
    let other = CutTreeBuilder.build(forest.other, layout: .ipv4, emptyLink: emptyLink, appendingTo: &words)
    generation.roots = (ipv4.tree.slot, ipv6.tree.slot, other.tree.slot)
    let trees = [ipv4.tree, ipv6.tree, other.tree]
    stepsMax = trees.map(\.stepsMax).max() ?? 0
    let pendingMax = trees.map(\.pendingMax).max() ?? 0
    let byteCount = words.count * 8
    func passesMax(_ stepsMax: Int) -> Int {
      let perCall = Int(SLUICE_STEPS_PER_CALL)
      return Int(SLUICE_CALLS_MAX) / ((stepsMax + perCall) / perCall + 1) - 1
    }
    func isBounded(_ stepsMax: Int, _ pendingMax: Int) -> Bool {
      stepsMax <= Int(SLUICE_STEPS_MAX) && header.passesMax <= passesMax(stepsMax) && pendingMax < Int(SLUICE_PENDING_SLOTS)
    }
    let grownStepsMax = trees.map(\.grown.stepsMax).max() ?? 0
    isEditable = isBounded(grownStepsMax, trees.map(\.grown.pendingMax).max() ?? 0)
    passCountMax = min(passesMax(grownStepsMax), Limits.countRulesMax)
    passCount = header.passCount
    targets = header.targets
    self.large = large.places
    self.listedNames = listedNames
    guard isBounded(stepsMax, pendingMax), byteCount <= CompiledGeneration.byteCountMax else {
      // Where the walk itself is short enough, it is how often it begins anew.
      let isPassing = stepsMax <= Int(SLUICE_STEPS_MAX) && header.passesMax > passesMax(stepsMax)
        && pendingMax < Int(SLUICE_PENDING_SLOTS) && byteCount <= CompiledGeneration.byteCountMax
      let crowd = [ipv4.crowd, ipv6.crowd, other.crowd].max { $0.count < $1.count }
      let crowded = (crowd?.priorities ?? []).compactMap { priority in
        ruleNames.indices.first { rulePriority(at: $0, of: ruleNames.count) == priority }.map { ruleNames[$0] }
      }
      throw .tooComplex(
        steps: stepsMax, counting: header.passesMax, pending: pendingMax, byteCount: byteCount,
        rules: isPassing ? header.passingRules : crowded)
    }
    words.removeFirst(headerWordCount)
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
    Int(SLUICE_TABLES_BYTES_MAX) / 2 - Int(SLUICE_TABLES_HEADER_BYTES)
  }
}

/// What a generation says beside its rules.
struct GenerationHeader {
  var generation: UInt64
  var defaultAction: Fate
  var captureFallback: Fate
  var malformed: MalformedPolicy
  /// Interface indices of redirects.
  private(set) var targets: [UInt32] = []
  private(set) var slotCount: UInt32 = 1
  /// Priorities behind which packets go on that leave a chain.
  private(set) var resumes: [UInt32] = []
  /// Rules that count, or leave a chain, and let packets go on.
  private(set) var passCount = 0
  /// The first of them.
  private(set) var passingRules: [String] = []
  /// How often a packet can go on: a valid rule set has no more.
  var passesMax: Int { min(passCount, Limits.countRulesMax) }

  init(generation: UInt64, defaultAction: Fate, captureFallback: Fate, malformed: MalformedPolicy) {
    self.generation = generation
    self.defaultAction = defaultAction
    self.captureFallback = captureFallback
    self.malformed = malformed
  }

  /// The low half of the rule's label. Its target and slot are in the header from now on.
  mutating func verdict(
    of rule: Rule, slot: UInt32, interfaceIndex: (String) -> UInt32?
  ) throws(CompileError) -> UInt32 {
    guard (1..<UInt32(SLUICE_SLOTS_MAX)).contains(slot) else { throw .slotOutOfRange(rule: rule.name, slot: slot) }
    slotCount = max(slotCount, slot + 1)
    if rule.action == .count { notePassing(rule) }
    var verdict = slot << UInt32(SLUICE_LABEL_SLOT) | UInt32(rule.action.abiAction) << UInt32(SLUICE_LABEL_ACTION)
    guard let interface = rule.action.redirectInterface else { return verdict }
    guard let index = interfaceIndex(interface) else {
      throw .unknownInterface(rule: rule.name, interface: interface)
    }
    let target = targets.firstIndex(of: index) ?? targets.endIndex
    precondition(target < Int(SLUICE_REDIRECT_TARGETS_MAX), "a valid rule set has no more targets")
    if target == targets.endIndex { targets.append(index) }
    verdict |= UInt32(target) << UInt32(SLUICE_LABEL_TARGET)
    return verdict
  }

  /// The same for a rule that leaves a chain.
  ///
  /// - Parameter slot: nil: it isn't counted.
  mutating func verdict(resumingBehind priority: UInt32, rule: Rule, slot: UInt32?) throws(CompileError) -> UInt32 {
    if let slot {
      guard (1..<UInt32(SLUICE_SLOTS_MAX)).contains(slot) else { throw .slotOutOfRange(rule: rule.name, slot: slot) }
      slotCount = max(slotCount, slot + 1)
    }
    notePassing(rule)
    let index = resumes.lastIndex(of: priority) ?? resumes.endIndex
    precondition(index < Int(SLUICE_RESUMES_MAX), "a valid rule set leaves for no more places")
    if index == resumes.endIndex { resumes.append(priority) }
    return (slot ?? 0) << UInt32(SLUICE_LABEL_SLOT) | SLUICE_ACTION_RESUME.rawValue << UInt32(SLUICE_LABEL_ACTION)
      | UInt32(index) << UInt32(SLUICE_LABEL_TARGET)
  }

  private mutating func notePassing(_ rule: Rule) {
    passCount += 1
    if passingRules.count < CompileError.namedRulesMax, passingRules.last != rule.name { passingRules.append(rule.name) }
  }

  var abiGeneration: sluice_generation {
    var result = sluice_generation()
    result.abi_version = UInt32(SLUICE_ABI_VERSION)
    result.generation = generation
    result.slot_count = slotCount
    result.default_action = defaultAction.abiAction
    result.capture_fallback = captureFallback.abiAction
    func action(_ index: Int) -> UInt8 { malformed.abiAction(at: index) }
    result.malformed_action = (
      action(0), action(1), action(2), action(3), action(4), action(5), action(6), action(7), action(8), action(9),
      action(10), action(11), action(12), action(13), action(14), action(15)
    )
    withUnsafeMutableBytes(of: &result.targets) { bytes in
      for (index, target) in targets.enumerated() {
        unsafe bytes.storeBytes(of: target, toByteOffset: index * 4, as: UInt32.self)
      }
    }
    withUnsafeMutableBytes(of: &result.resumes) { bytes in
      for (index, priority) in resumes.enumerated() {
        unsafe bytes.storeBytes(of: priority, toByteOffset: index * 4, as: UInt32.self)
      }
    }
    return result
  }
}
