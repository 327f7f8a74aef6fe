import CSluiceABI
import Rules

/// The bytes of one `struct sluice_generation` (sluice_abi.h), ready for the program's map.
public struct CompiledGeneration: Hashable, Sendable {
  /// Exactly the struct, in this machine's byte order; entries behind `entryCount` are zero.
  public let bytes: [UInt8]
  public let generation: UInt64
  public let entryCount: Int
  /// The rule of each entry.
  public let entryRuleNames: [String]

  /// The struct's bytes, valid during the call.
  public func withUnsafeBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let span = bytes.span
    return try unsafe span.withUnsafeBytes(body)
  }

  init(
    header: GenerationHeader, entries: [sluice_entry], entryRuleNames: [String]
  ) {
    precondition(entries.count <= Int(SLUICE_ENTRIES_MAX) && entries.count == entryRuleNames.count)
    var bytes = [UInt8](repeating: 0, count: MemoryLayout<sluice_generation>.size)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    raw.storeBytes(of: UInt32(SLUICE_ABI_VERSION), toByteOffset: Offsets.abiVersion, as: UInt32.self)
    raw.storeBytes(of: UInt32(entries.count), toByteOffset: Offsets.entryCount, as: UInt32.self)
    raw.storeBytes(of: header.generation, toByteOffset: Offsets.generation, as: UInt64.self)
    raw.storeBytes(of: header.defaultAction.abiAction, toByteOffset: Offsets.defaultAction, as: UInt8.self)
    raw.storeBytes(of: header.captureFallback.abiAction, toByteOffset: Offsets.captureFallback, as: UInt8.self)
    for index in 0..<16 {
      raw.storeBytes(
        of: header.malformed.abiAction(at: index), toByteOffset: Offsets.malformedAction + index, as: UInt8.self)
    }
    for (index, entry) in entries.enumerated() {
      raw.storeBytes(
        of: entry, toByteOffset: Offsets.entries + index * MemoryLayout<sluice_entry>.stride, as: sluice_entry.self)
    }
    self.bytes = bytes
    self.generation = header.generation
    self.entryCount = entries.count
    self.entryRuleNames = entryRuleNames
  }
}

/// What a generation says beside its entries.
struct GenerationHeader {
  var generation: UInt64
  var defaultAction: Fate
  var captureFallback: Fate
  var malformed: MalformedPolicy
}

/// Where the fields of `struct sluice_generation` lie.
private enum Offsets {
  static let abiVersion = offset(\.abi_version)
  static let entryCount = offset(\.entry_count)
  static let generation = offset(\.generation)
  static let defaultAction = offset(\.default_action)
  static let captureFallback = offset(\.capture_fallback)
  static let malformedAction = offset(\.malformed_action)
  /// The array ends the struct. (A key path to it would make a tuple type of a thousand elements.)
  static let entries =
    MemoryLayout<sluice_generation>.size - Int(SLUICE_ENTRIES_MAX) * MemoryLayout<sluice_entry>.stride

  private static func offset(_ field: PartialKeyPath<sluice_generation>) -> Int {
    guard let offset = MemoryLayout<sluice_generation>.offset(of: field) else {
      preconditionFailure("fields of C structs are stored")
    }
    return offset
  }
}
