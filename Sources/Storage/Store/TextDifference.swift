/// What makes of one text another: parts that go, each with what comes in its place.
///
/// As text: a line of numbers, and what comes. For each part how many bytes before it stay, how many go, and how many come; last
/// how many stay behind all of them.
struct TextDifference {
  private struct Hunk {
    var kept: Int
    var gone: Int
    var come: ArraySlice<UInt8>
  }

  private var hunks: [Hunk] = []
  private var last = 0

  private static let hunksMax = 512
  /// So many bytes that are the same again end a part.
  private static let anchor = 32
  /// So many bytes are gone over to find them.
  private static let reach = 384

  // MARK: Making

  /// Nil where more comes than the limit, or in too many parts.
  init?(from old: [UInt8], to new: [UInt8], literalMax: Int) {
    var (i, j, start) = (0, 0, 0)
    var literalCount = 0
    let ends = Self.commonEnd(old, new)
    let (oldEnd, newEnd) = (old.count - ends, new.count - ends)
    /// The part from there on up to where both are the same again, in whole characters of what comes.
    func note(_ newNext: Int, _ oldNext: Int) -> Bool {
      var (begin, oldBegin, next, oldNext) = (j, i, newNext, oldNext)
      while begin > start, begin < new.count, Self.isInside(new[begin]) { (begin, oldBegin) = (begin - 1, oldBegin - 1) }
      while next < new.count, Self.isInside(new[next]) { (next, oldNext) = (next + 1, oldNext + 1) }
      hunks.append(Hunk(kept: begin - start, gone: oldNext - oldBegin, come: new[begin..<next]))
      literalCount += next - begin
      (i, j, start) = (oldNext, next, next)
      return literalCount <= literalMax && hunks.count <= Self.hunksMax
    }
    while true {
      let same = Self.commonBegin(old[i..<oldEnd], new[j..<newEnd])
      (i, j) = (i + same, j + same)
      if i >= oldEnd || j >= newEnd { break }
      guard let (oldNext, newNext) = Self.same(old[i..<oldEnd], new[j..<newEnd]) else { break }
      guard note(newNext, oldNext) else { return nil }
    }
    guard note(max(newEnd, j), max(oldEnd, i)) else { return nil }
    last = new.count - start
  }

  /// How many bytes both begin with.
  private static func commonBegin(_ old: ArraySlice<UInt8>, _ new: ArraySlice<UInt8>) -> Int {
    let (old, new) = (old.span, new.span)
    let most = min(old.count, new.count)
    var count = 0
    while count < most, old[count] == new[count] { count += 1 }
    return count
  }

  /// How many bytes both end with.
  private static func commonEnd(_ old: [UInt8], _ new: [UInt8]) -> Int {
    let (old, new) = (old.span, new.span)
    let most = min(old.count, new.count)
    var count = 0
    while count < most, old[old.count - 1 - count] == new[new.count - 1 - count] { count += 1 }
    return count
  }

  /// Where both go on alike, with as little as can be before it.
  private static func same(_ old: ArraySlice<UInt8>, _ new: ArraySlice<UInt8>) -> (old: Int, new: Int)? {
    for distance in 1...reach {
      for come in 0...distance {
        let (i, j) = (old.startIndex + distance - come, new.startIndex + come)
        guard i + anchor <= old.endIndex, j + anchor <= new.endIndex, old[i] == new[j] else { continue }
        if (1..<anchor).allSatisfy({ old[i + $0] == new[j + $0] }) { return (i, j) }
      }
    }
    return nil
  }

  /// Whether a byte of UTF-8 is none that a character begins with.
  private static func isInside(_ byte: UInt8) -> Bool { byte & 0xc0 == 0x80 }

  // MARK: As text

  var text: String {
    var numbers = hunks.flatMap { [$0.kept, $0.gone, $0.come.count] }
    numbers.append(last)
    let line = numbers.map(String.init).joined(separator: " ")
    return line + "\n" + String(decoding: hunks.flatMap(\.come), as: UTF8.self)
  }

  /// Nil: it is none.
  init?(_ text: ArraySlice<UInt8>) {
    guard let end = text.firstIndex(of: 0x0a) else { return nil }
    let words = text[..<end].split(separator: 0x20)
    let numbers = words.compactMap { Int(String(decoding: $0, as: UTF8.self)) }
    guard numbers.count == words.count, numbers.count % 3 == 1, numbers.count <= 3 * (Self.hunksMax + 1) + 1,
      numbers.allSatisfy({ (0...Int(Int32.max)).contains($0) })
    else { return nil }
    var left = text[(end + 1)...]
    for index in stride(from: 0, to: numbers.count - 1, by: 3) {
      let come = left.prefix(numbers[index + 2])
      guard come.count == numbers[index + 2] else { return nil }
      hunks.append(Hunk(kept: numbers[index], gone: numbers[index + 1], come: come))
      left = left.dropFirst(come.count)
    }
    guard left.isEmpty else { return nil }
    last = numbers[numbers.count - 1]
  }

  /// The parts of the other text; nil: it was made from another one.
  fileprivate func applied(to old: [ArraySlice<UInt8>]) -> [ArraySlice<UInt8>]? {
    let count = hunks.reduce(last) { $0 + $1.kept + $1.gone }
    guard count == old.reduce(0, { $0 + $1.count }) else { return nil }
    var result: [ArraySlice<UInt8>] = []
    var left = old[...]
    func take(_ count: Int, _ isKept: Bool) {
      var count = count
      while count > 0, let piece = left.first {
        let part = piece.prefix(count)
        if isKept { result.append(part) }
        count -= part.count
        left[left.startIndex] = piece.dropFirst(part.count)
        if part.count == piece.count { left = left.dropFirst() }
      }
    }
    for hunk in hunks {
      take(hunk.kept, true)
      take(hunk.gone, false)
      if !hunk.come.isEmpty { result.append(hunk.come) }
    }
    take(last, true)
    return result
  }
}

/// A text in parts of others: made by many differences, and joined once.
struct TextPieces {
  private var pieces: [ArraySlice<UInt8>]

  init(_ bytes: [UInt8]) { pieces = [bytes[...]] }

  /// Whether it fits.
  mutating func apply(_ difference: TextDifference) -> Bool {
    guard let next = difference.applied(to: pieces) else { return false }
    pieces = next
    return true
  }

  var bytes: [UInt8] { Array(pieces.joined()) }
}
