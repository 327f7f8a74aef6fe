import Audit
import Foundation
import Rules

/// A revision's content as its row has it: the whole text, or what differs from the text of the revision before, where that is
/// little. A list of a million addresses is not written anew for each change of some.
///
/// What differs begins with `@` and the number of the revision that is whole and from which all are made up to this one. JSON
/// begins otherwise. Behind it a ``TextDifference``.
struct StoredContent: Sendable {
  let bytes: [UInt8]
  let base: Base

  /// What a text is made from.
  struct Base: Hashable, Sendable {
    /// The revision that is whole; the number of its own where it is.
    let whole: UInt64
    /// In the rows from there to the text's own: what is read besides the whole one.
    let differenceByteCount: Int
  }

  /// Shorter texts are whole, and those of which more than this part differs.
  static let byteCountMin = 16 << 10
  private static let partMax = 8
  /// Revisions that are made from a whole one.
  static let chainMax: UInt64 = 128

  // MARK: Writing

  /// What the row of a revision has.
  ///
  /// Its differences are never more than the text in all, so that to read a revision is to read twice its text at most.
  ///
  /// - Parameter old: the text of the one before exactly as it is stored, and what it is made from; nil: nobody knows.
  static func row(
    _ bytes: [UInt8], number: UInt64, after old: (bytes: [UInt8], base: Base)?
  ) -> (text: String, base: Base) {
    if let old, bytes.count >= byteCountMin, number - old.base.whole <= chainMax,
      let difference = TextDifference(from: old.bytes, to: bytes, literalMax: bytes.count / partMax)
    {
      let text = "@\(old.base.whole) \(difference.text)"
      let byteCount = old.base.differenceByteCount + text.utf8.count
      if byteCount <= bytes.count { return (text, Base(whole: old.base.whole, differenceByteCount: byteCount)) }
    }
    return (String(decoding: bytes, as: UTF8.self), Base(whole: number, differenceByteCount: 0))
  }

  // MARK: Reading

  /// The text of a revision; nil: there is none.
  init?(_ number: UInt64, of id: UUID, _ session: any SQLSession) throws(StorageError) {
    func damaged() -> StorageError { .corrupt("revision \(number) of rule set \(id) is not made from those before it") }
    let sql = "SELECT content FROM rule_set_revisions WHERE rule_set_id = $1 AND number"
    let newest = try session.first("\(sql) = $2", [SQLValue(id), SQLValue(revision: number)]) { row throws(StorageError) in
      Array(try row.text().utf8)
    }
    guard let newest else { return nil }
    guard Self.isDifference(newest) else {
      (bytes, base) = (newest, Base(whole: number, differenceByteCount: 0))
      return
    }
    guard let (whole, last) = Self.difference(newest), whole < number else { throw damaged() }
    let rows = try session.all(
      "\(sql) >= $2 AND number < $3 ORDER BY number",
      [SQLValue(id), SQLValue(revision: whole), SQLValue(revision: number)]
    ) { row throws(StorageError) in Array(try row.text().utf8) }
    guard UInt64(rows.count) == number - whole, let first = rows.first, !Self.isDifference(first) else { throw damaged() }
    var pieces = TextPieces(first)
    for row in rows.dropFirst() {
      guard let (first, difference) = Self.difference(row), first == whole, pieces.apply(difference) else { throw damaged() }
    }
    guard pieces.apply(last) else { throw damaged() }
    bytes = pieces.bytes
    base = Base(whole: whole, differenceByteCount: rows.dropFirst().reduce(newest.count) { $0 + $1.count })
  }

  private static func isDifference(_ row: [UInt8]) -> Bool { row.first == UInt8(ascii: "@") }

  private static func difference(_ row: [UInt8]) -> (whole: UInt64, TextDifference)? {
    guard isDifference(row), let end = row.prefix(24).firstIndex(of: 0x20) else { return nil }
    guard let whole = UInt64(String(decoding: row[1..<end], as: UTF8.self)), let difference = TextDifference(row[(end + 1)...])
    else { return nil }
    return (whole, difference)
  }

  func content() throws(StorageError) -> RuleSet {
    do { return try JSONDecoder().decode(RuleSet.self, from: Data(bytes)) } catch {
      throw .corrupt("the content of a revision is none: \(error)")
    }
  }

  /// SHA-256 of a text that others may be made from; nil: it is too short for that.
  var digest: String? { bytes.count >= Self.byteCountMin ? AuditChain.digest(bytes) : nil }
}
