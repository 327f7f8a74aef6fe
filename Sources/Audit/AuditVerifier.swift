import JSONValues

/// Checks records in the order of their sequence, from any source, in constant memory.
///
/// Retention removes records from the start and leaves a checkpoint in the chain: a record with the operation
/// ``checkpointOperation`` whose `after` names the last removed record and its hash. A log that does not begin with
/// record 1 is whole only if a checkpoint in it covers exactly what is missing, or an anchor of the record before it is
/// known.
public struct AuditVerifier: Sendable {
  public static let checkpointOperation = "auditCheckpoint"

  private let anchors: [UInt64: String]
  private var first: AuditAnchor?
  private var isStartCovered = false
  private var last: AuditAnchor?
  /// Records that were checked and hold.
  public private(set) var count: UInt64 = 0

  /// - Parameter anchors: hashes known from elsewhere.
  public init(anchors: [AuditAnchor] = []) {
    self.anchors = Dictionary(anchors.map { ($0.sequence, $0.hash) }, uniquingKeysWith: { first, _ in first })
  }

  /// The last record that was checked.
  public var head: AuditAnchor? { last }

  /// Takes the next record, as it was exported.
  public mutating func check(_ record: JSONValue) throws(AuditFault) {
    guard let number = record["sequence"]?.integer, number > 0, let hash = record["hash"]?.string,
      let previous = record["previous_hash"]?.string
    else { throw AuditFault(sequence: 0, reason: .malformed) }
    let sequence = UInt64(number)
    if let last, sequence != last.sequence + 1 {
      throw AuditFault(sequence: sequence, reason: .outOfSequence(expected: last.sequence + 1))
    }
    guard AuditChain.hash(of: record) == hash else { throw AuditFault(sequence: sequence, reason: .changed) }
    if let last {
      guard previous == last.hash else { throw AuditFault(sequence: sequence, reason: .unchained) }
    } else {
      first = AuditAnchor(sequence: sequence, hash: previous)
      if let anchor = anchors[sequence - 1], anchor != previous { throw AuditFault(sequence: sequence - 1, reason: .anchor) }
      isStartCovered = sequence == 1 && previous == AuditChain.start || anchors[sequence - 1] == previous
    }
    if let anchor = anchors[sequence], anchor != hash { throw AuditFault(sequence: sequence, reason: .anchor) }
    cover(record)
    last = AuditAnchor(sequence: sequence, hash: hash)
    count += 1
  }

  private mutating func cover(_ record: JSONValue) {
    guard let first, record["operation"]?.string == Self.checkpointOperation,
      let through = record["after"]?["through_sequence"]?.integer, let hash = record["after"]?["hash"]?.string
    else { return }
    if UInt64(clamping: through) + 1 == first.sequence, hash == first.hash { isStartCovered = true }
  }

  /// Call after the last record.
  ///
  /// - Parameter end: the record that the log should reach, where that is known.
  public func finish(end: AuditAnchor? = nil) throws(AuditFault) {
    if let first, !isStartCovered { throw AuditFault(sequence: first.sequence, reason: .startMissing) }
    // One that is older than all there is has been compared with nothing; a checkpoint is the log's own word.
    if let first, let newest = anchors.keys.max(), newest + 1 < first.sequence {
      throw AuditFault(sequence: newest, reason: .anchorRemoved(first: first.sequence))
    }
    let reached = last?.sequence ?? 0
    let wanted = max(end?.sequence ?? 0, anchors.keys.max() ?? 0)
    guard reached >= wanted else { throw AuditFault(sequence: reached, reason: .truncated(expected: wanted)) }
    if let end, let last, last.sequence == end.sequence, last.hash != end.hash {
      throw AuditFault(sequence: end.sequence, reason: .anchor)
    }
  }
}
