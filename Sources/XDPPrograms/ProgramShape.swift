import CSluiceABI

/// What a program is loaded for: it holds generations of that size that look at no more.
struct ProgramShape: Hashable {
  /// A power of two.
  var tablesByteCount: Int
  /// Of `enum sluice_feature`.
  var features: UInt8
  /// A power of two.
  var slotCount: UInt32
  /// Elements of sets that count, at most.
  var elementCount: UInt32

  static let allFeatures = UInt8(
    SLUICE_FEATURE_HEADER.rawValue | SLUICE_FEATURE_TCP_FLAGS.rawValue | SLUICE_FEATURE_VLAN.rawValue
      | SLUICE_FEATURE_LINK.rawValue | SLUICE_FEATURE_COUNT.rawValue | SLUICE_FEATURE_SOURCE_SETS.rawValue
      | SLUICE_FEATURE_DESTINATION_SETS.rawValue | SLUICE_FEATURE_ELEMENT_COUNTERS.rawValue)

  init(tablesByteCount: Int, features: UInt8, slotCount: UInt32, elementCount: UInt32 = 0) {
    self.tablesByteCount = tablesByteCount
    self.features = features
    self.slotCount = slotCount
    self.elementCount = elementCount
  }

  /// What a generation (bytes of a `struct sluice_generation`) needs.
  init(for generation: UnsafeRawBufferPointer) {
    let header = generation.loadUnaligned(as: sluice_generation.self)
    self.init(
      tablesByteCount: Tables.byteCount(forGenerationOf: generation.count), features: header.features,
      slotCount: ProgramShape.slotCount(for: header.slot_count), elementCount: header.counted_elements)
  }

  /// - Parameter withRoom: Also for rules that come while it is live.
  func holds(_ generation: UnsafeRawBufferPointer, withRoom: Bool = true) -> Bool {
    let needed = ProgramShape(for: generation)
    let fits = Tables.fits(generation.count, into: tablesByteCount)
    return fits && (!withRoom || needed.tablesByteCount <= tablesByteCount) && needed.features & ~features == 0
      && needed.slotCount <= slotCount && needed.elementCount <= elementCount
  }

  /// What the object is told before it is loaded.
  func constants(
    frags: Bool = false, recordsDecisions: Bool = false, zeroesStack: Bool, hasReceivers: Bool = false
  ) -> sluice_constants {
    let half = UInt64(tablesByteCount / 2)
    return sluice_constants(
      has_frags: frags ? 1 : 0, record_decisions: recordsDecisions ? 1 : 0, features: UInt32(features),
      zeroes_stack: zeroesStack ? 1 : 0, has_receivers: hasReceivers ? 1 : 0, reserved: 0, half: half, mask_8: half - 8, mask_32: half - 32,
      mask_64: half - 64, mask_128: half - 128)
  }

  /// Sizes the maps of an object that is not yet loaded.
  func size(_ object: ProgramObject) throws(ProgramError) {
    try object.setValueByteCount(tablesByteCount, of: "tables")
    for name in RuleCounters.names { try object.setMaxEntries(slotCount, of: name) }
    for name in ElementCounters.names { try object.setMaxEntries(max(elementCount, 1), of: name) }
  }

  /// The same with room for elements that come later. The kernel takes the memory of all at once.
  func withSpareElements() -> ProgramShape {
    var shape = self
    if elementCount > 0 { shape.elementCount += elementCount / 8 + 1024 }
    return shape
  }

  /// For a program that no other can take the place of: whatever rules may look at, and room for a hundred thousand of IPv4,
  /// or some ten thousand of IPv6, and as many elements that count.
  func forGood() -> ProgramShape {
    ProgramShape(
      tablesByteCount: max(tablesByteCount, 32 << 20), features: ProgramShape.allFeatures,
      slotCount: UInt32(SLUICE_SLOTS_MAX), elementCount: max(elementCount, 16_384))
  }

  /// Counters for so many slots: a power of two.
  private static func slotCount(for count: UInt32) -> UInt32 {
    var size = UInt32(SLUICE_SLOTS_MIN)
    while size < min(count, UInt32(SLUICE_SLOTS_MAX)) { size *= 2 }
    return size
  }
}
