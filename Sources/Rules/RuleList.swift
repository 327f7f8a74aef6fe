/// Rules in their order, in pieces that copies of the list share: a change of one rule copies the piece that it is in, and
/// lists that were made from one another are compared where their pieces differ.
///
/// For lists of a hundred thousand, of which a daemon and an API hold several that differ by a rule. A place costs a search
/// among the pieces; a loop over all rules, and ``firstIndex(where:)``, don't.
public struct RuleList: Sendable {
  /// None is empty.
  @usableFromInline var pieces: [[Rule]]
  /// Of each piece, the index behind its last rule.
  @usableFromInline var ends: [Int]

  /// Of a piece that nobody has edited.
  private static let pieceCount = 256
  private static let pieceCountMin = 64
  private static let pieceCountMax = 512

  public init() {
    pieces = []
    ends = []
  }

  public init(_ rules: some Sequence<Rule>) {
    self.init()
    pieces = Self.cut(Array(rules))
    updateEnds(from: 0)
  }

  private static func cut(_ rules: [Rule]) -> [[Rule]] {
    stride(from: 0, to: rules.count, by: pieceCount).map { Array(rules[$0..<Swift.min($0 + pieceCount, rules.count)]) }
  }

  private mutating func updateEnds(from first: Int) {
    ends.removeSubrange(Swift.min(first, ends.count)...)
    for piece in pieces[first...] { ends.append((ends.last ?? 0) + piece.count) }
  }

  /// Where a rule is; of the end: behind the last rule of the last piece.
  @usableFromInline func place(_ index: Int) -> (piece: Int, offset: Int) {
    var (low, high) = (0, ends.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if ends[middle] > index { high = middle } else { low = middle + 1 }
    }
    return (low, low == 0 ? index : index - ends[low - 1])
  }
}

extension RuleList: RandomAccessCollection, MutableCollection {
  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { ends.last ?? 0 }

  @inlinable
  public subscript(index: Int) -> Rule {
    _read {
      precondition(indices.contains(index), "a rule of the list")
      let place = place(index)
      yield pieces[place.piece][place.offset]
    }
    _modify {
      precondition(indices.contains(index), "a rule of the list")
      let place = place(index)
      yield &pieces[place.piece][place.offset]
    }
  }

  public struct Iterator: IteratorProtocol {
    @usableFromInline let pieces: [[Rule]]
    @usableFromInline var piece = 0
    @usableFromInline var offset = 0

    @inlinable init(_ pieces: [[Rule]]) { self.pieces = pieces }

    @inlinable
    public mutating func next() -> Rule? {
      guard piece < pieces.count else { return nil }
      let rule = pieces[piece][offset]
      offset += 1
      if offset == pieces[piece].count { (piece, offset) = (piece + 1, 0) }
      return rule
    }
  }

  @inlinable public func makeIterator() -> Iterator { Iterator(pieces) }

  /// Copies no rule.
  public func firstIndex(where isWanted: (Rule) -> Bool) -> Int? { index(from: 0, where: isWanted) }

  /// The first of the rules from one on. Copies none.
  func index(from start: Int, where isWanted: (Rule) -> Bool) -> Int? {
    guard start < count else { return nil }
    var (number, first) = place(start)
    while number < pieces.count {
      let piece = pieces[number]
      let rules = piece.span
      for offset in first..<rules.count where isWanted(rules[offset]) { return ends[number] - rules.count + offset }
      (number, first) = (number + 1, 0)
    }
    return nil
  }
}

extension RuleList: RangeReplaceableCollection, ExpressibleByArrayLiteral {
  public init(arrayLiteral rules: Rule...) { self.init(rules) }

  public mutating func append(_ rule: Rule) {
    guard let last = pieces.indices.last, pieces[last].count < Self.pieceCountMax else {
      pieces.append([rule])
      ends.append(count + 1)
      return
    }
    pieces[last].append(rule)
    ends[last] += 1
  }

  public mutating func replaceSubrange(_ range: Range<Int>, with rules: some Collection<Rule>) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "rules of the list")
    guard !pieces.isEmpty else {
      self = RuleList(rules)
      return
    }
    let (first, start) = place(range.lowerBound)
    if range.isEmpty {
      pieces[first].insert(contentsOf: rules, at: start)
    } else {
      let (last, end) = place(range.upperBound - 1)
      if first == last {
        pieces[first].replaceSubrange(start...end, with: rules)
      } else {
        pieces[first].replaceSubrange(start..., with: rules)
        pieces[first] += pieces[last][(end + 1)...]
        pieces.removeSubrange(first + 1...last)
      }
    }
    updateEnds(from: trim(first))
  }

  /// Makes a piece one of a good length, with its neighbour or in several.
  ///
  /// - Returns: The first piece that may be another one now.
  private mutating func trim(_ piece: Int) -> Int {
    var piece = piece
    if pieces[piece].isEmpty {
      pieces.remove(at: piece)
      return piece
    }
    if pieces[piece].count < Self.pieceCountMin, pieces.count > 1 {
      piece = Swift.max(0, piece - 1)
      pieces[piece] += pieces.remove(at: piece + 1)
    }
    if pieces[piece].count > Self.pieceCountMax { pieces.replaceSubrange(piece...piece, with: Self.cut(pieces[piece])) }
    return piece
  }
}

extension RuleList: Hashable {
  public static func == (one: RuleList, other: RuleList) -> Bool {
    one.count == other.count && one.commonEnds(with: other).first == one.count
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(count)
    for rule in self { hasher.combine(rule) }
  }

  /// How many rules both begin with, and how many of those behind both end with.
  public func commonEnds(with other: RuleList) -> (first: Int, last: Int) {
    let most = Swift.min(count, other.count)
    var first = 0
    for (mine, others) in zip(pieces, other.pieces) {
      guard Self.isSame(mine, others) else { break }
      first += mine.count
    }
    while first < most, self[first] == other[first] { first += 1 }
    var last = 0
    for (mine, others) in zip(pieces.reversed(), other.pieces.reversed()) {
      guard last + mine.count <= most - first, Self.isSame(mine, others) else { break }
      last += mine.count
    }
    while last < most - first, self[count - 1 - last] == other[other.count - 1 - last] { last += 1 }
    return (first, last)
  }

  private static func isSame(_ piece: [Rule], _ other: [Rule]) -> Bool {
    guard piece.count == other.count else { return false }
    let (mine, others) = (piece.span, other.span)
    return mine.isIdentical(to: others) || mine.indices.allSatisfy { mine[$0] == others[$0] }
  }
}

extension RuleList: Codable {
  public init(from decoder: any Decoder) throws { self.init(try [Rule](from: decoder)) }

  public func encode(to encoder: any Encoder) throws {
    var list = encoder.unkeyedContainer()
    for rule in self { try list.encode(rule) }
  }
}
