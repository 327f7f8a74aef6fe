import Packets

/// Chains and sets: statements of several lines, between `{` and `}`.
extension RuleSetTextReader {
  enum Block {
    case chain(Chain, line: Int)
    case set(SetReader)

    var line: Int {
      switch self {
      case .chain(_, let line): line
      case .set(let reader): reader.line
      }
    }

    var title: String {
      switch self {
      case .chain(let chain, _): "the chain \(chain.name)"
      case .set(let reader): "the set \(reader.name)"
      }
    }
  }

  private func name(
    _ line: inout RuleLineLexer, of kind: String, taken: [String]
  ) throws(RuleTextError) -> String {
    let name = try word(&line, "the name of the \(kind)")
    guard isValidName(name.text) else {
      throw line.failure(
        at: name.offset, "\"\(excerpt(name))\" is not a \(kind)'s name: a-z, 0-9, \".\", \"_\", \"-\", the first a letter "
          + "or a digit, at most \(Limits.nameByteCountMax)",
        suggestion: isValidName(name.text.lowercased()) ? name.text.lowercased() : nil)
    }
    if taken.contains(name.text) {
      throw line.failure(at: name.offset, "there is a \(kind) \(name.text) above; put both together")
    }
    return name.text
  }

  private func brace(_ line: inout RuleLineLexer) throws(RuleTextError) {
    let brace = try word(&line, "{")
    guard brace.text == "{" else { throw line.failure(at: brace.offset, "here comes {, with a blank before it") }
  }

  // MARK: chains

  mutating func openChain(_ line: inout RuleLineLexer) throws(RuleTextError) {
    let start = line.end
    let name = try name(&line, of: "chain", taken: chains.map(\.name))
    guard chains.count < Limits.chainsMax else {
      throw line.failure(at: start, "a rule set has at most \(Limits.chainsMax) chains")
    }
    try brace(&line)
    block = .chain(Chain(name: name), line: line.line)
  }

  /// What stands behind the chain's brace.
  mutating func comment(_ text: String?) {
    guard case .chain(var chain, let line) = block else { return }
    chain.comment = text ?? ""
    block = .chain(chain, line: line)
  }

  /// Where it now stands in the chain that is open; nil: none is.
  mutating func addToChain(_ rule: Rule) -> IssueSubject? {
    guard case .chain(var chain, let line) = block else { return nil }
    block = nil  // or the rules are copied
    chain.rules.append(rule)
    let place = IssueSubject(chain: chains.count, rule: chain.rules.count - 1)
    block = .chain(chain, line: line)
    return place
  }

  mutating func closeChain() {
    if case .chain(let chain, _) = block { chains.append(chain) }
    block = nil
  }

  // MARK: sets

  mutating func openSet(_ line: inout RuleLineLexer) throws(RuleTextError) {
    let start = line.end
    let name = try name(&line, of: "set", taken: sets.map(\.name))
    guard sets.count < Limits.setsMax else {
      throw line.failure(at: start, "a rule set has at most \(Limits.setsMax) sets")
    }
    try brace(&line)
    let room = Limits.setElementsMax - sets.reduce(0) { $0 + $1.count }
    block = .set(SetReader(name: name, line: line.line, room: room))
    try readSet(&line)
    guard case .set(var reader) = block else {
      sets[sets.count - 1].comment = line.comment ?? ""
      return
    }
    reader.comment = line.comment ?? ""
    block = .set(reader)
  }

  /// The rest of the line is of the set that is open.
  mutating func readSet(_ line: inout RuleLineLexer) throws(RuleTextError) {
    guard case .set(var reader) = block else { return }
    block = nil
    guard let set = try reader.read(&line) else {
      block = .set(reader)
      return
    }
    try finishStatement(&line)
    sets.append(set)
  }
}

/// Reads what stands in the braces of a set: `type ipv4_addr`, `counters` if its elements count, and `elements` with a list that may go on, behind a comma or
/// in braces of its own, on the next lines. Behind an element may stand when it ends. Semicolons may stand between them, and `=` before the list.
struct SetReader {
  private enum State: Hashable {
    case word, type
    /// Before the first element.
    case list
    case element
    /// Behind an element.
    case separator
    /// Behind the word that says that it ends.
    case end(SetMember.EndWord)
  }

  let name: String
  let line: Int
  var comment = ""
  private var kind: NamedSet.Kind?
  private var hasCounters = false
  private var elements: [SetMember] = []
  private var state = State.word
  private var isInBraces = false
  private var room: Int

  init(name: String, line: Int, room: Int) {
    (self.name, self.line, self.room) = (name, line, room)
  }

  /// The set, once its brace has come.
  mutating func read(_ line: inout RuleLineLexer) throws(RuleTextError) -> NamedSet? {
    while let token = try line.next() {
      if token.kind == .comma {
        guard state == .separator else { throw line.failure(at: token.offset, "here comes no comma") }
        state = .element
        continue
      }
      let pieces = Self.pieces(token)
      for (index, (text, offset)) in pieces.enumerated() {
        guard try take(text, at: offset, line) else { continue }
        if let next = pieces.dropFirst(index + 1).first(where: { $0.text != ";" }) {
          throw line.failure(at: next.offset, "the set ends before this")
        }
        return try finish(line, at: offset)
      }
    }
    if state == .separator, !isInBraces { state = .word }
    return nil
  }

  /// The words of a word: braces, semicolons and `=` stand for themselves.
  private static func pieces(_ token: RuleLineLexer.Token) -> [(text: String, offset: Int)] {
    let marks: [UInt8] = [0x7b, 0x7d, 0x3b, 0x3d]
    guard token.text.utf8.contains(where: marks.contains) else { return [(token.text, token.offset)] }
    var pieces: [(text: String, offset: Int)] = []
    var word: [UInt8] = []
    func flush(_ end: Int) {
      if !word.isEmpty { pieces.append((String(decoding: word, as: UTF8.self), token.offset + end - word.count)) }
      word = []
    }
    for (index, byte) in token.text.utf8.enumerated() {
      guard marks.contains(byte) else {
        word.append(byte)
        continue
      }
      flush(index)
      pieces.append((String(decoding: [byte], as: UTF8.self), token.offset + index))
    }
    flush(token.text.utf8.count)
    return pieces
  }

  /// Whether it ends the set.
  private mutating func take(_ text: String, at offset: Int, _ line: RuleLineLexer) throws(RuleTextError) -> Bool {
    switch text {
    case "=" where state == .list: return false
    case "{" where state == .list && !isInBraces:
      isInBraces = true
      return false
    case "}" where isInBraces && [.list, .element, .separator].contains(state):
      isInBraces = false
      state = .word
      return false
    case "}" where state == .word || state == .separator: return true
    case ";" where !isInBraces && (state == .word || state == .separator):
      state = .word
      return false
    case "{", "}", ";", "=":
      throw line.failure(at: offset, "here comes no \(text)")
    default: break
    }
    if state == .separator, let word = SetMember.EndWord(rawValue: text), elements.last?.expiry == nil {
      state = .end(word)
      return false
    }
    if state == .separator, !isInBraces { state = .word }
    switch state {
    case .word:
      if text == "counters" {
        hasCounters = true
        return false
      }
      guard let next = ["type": State.type, "elements": .list][text] else {
        if !elements.isEmpty, let kind, (try? SetElement(parsing: text, for: kind)) != nil {
          throw line.failure(at: offset, "between elements come commas", suggestion: ", \(text)")
        }
        throw line.failure(
          at: offset, "\"\(ValueTextError.excerpt(text))\" is not known: in a set are type, counters, elements and, at its end, }",
          suggestion: nearest(to: text, among: ["type", "counters", "elements"]))
      }
      state = next
    case .type: try readKind(text, at: offset, line)
    case .list, .element: try readElement(text, at: offset, line)
    case .end(let word): try readEnd(word, text, at: offset, line)
    case .separator: throw line.failure(at: offset, "between elements come commas", suggestion: ", \(text)")
    }
    return false
  }

  private mutating func readKind(_ text: String, at offset: Int, _ line: RuleLineLexer) throws(RuleTextError) {
    let words = NamedSet.Kind.allCases.map(\.rawValue)
    guard let kind = NamedSet.Kind(rawValue: text), self.kind == nil else {
      let message = self.kind == nil ? "types are \(words.joined(separator: ", "))" : "the set has its type above"
      throw line.failure(
        at: offset, "\"\(ValueTextError.excerpt(text))\" can't be the type: \(message)",
        suggestion: self.kind == nil ? nearest(to: text, among: words) : nil)
    }
    self.kind = kind
    state = .word
  }

  private mutating func readElement(_ text: String, at offset: Int, _ line: RuleLineLexer) throws(RuleTextError) {
    guard let kind else {
      throw line.failure(at: offset, "the type comes before the elements", suggestion: "type ipv4_addr above them")
    }
    guard elements.count < room else {
      throw line.failure(at: offset, "the sets of a rule set have at most \(Limits.setElementsMax) elements")
    }
    do throws(ValueTextError) {
      elements.append(SetMember(try SetElement(parsing: text, for: kind)))
    } catch {
      throw Self.failure(error, at: offset, line)
    }
    state = .separator
  }

  private mutating func readEnd(
    _ word: SetMember.EndWord, _ text: String, at offset: Int, _ line: RuleLineLexer
  ) throws(RuleTextError) {
    do throws(ValueTextError) {
      elements[elements.count - 1].expiry = try word.expiry(text)
    } catch {
      throw Self.failure(error, at: offset, line)
    }
    state = .separator
  }

  private static func failure(_ error: ValueTextError, at offset: Int, _ line: RuleLineLexer) -> RuleTextError {
    line.failure(at: offset, "\"\(error.text)\" is not \(error.expected): \(error.reason)", suggestion: error.suggestion)
  }

  private func finish(_ line: RuleLineLexer, at offset: Int) throws(RuleTextError) -> NamedSet {
    guard let kind else {
      throw line.failure(at: offset, "the set \(name) has no type", suggestion: "type ipv4_addr")
    }
    var set = NamedSet(name: name, kind: kind, comment: comment)
    set.hasCounters = hasCounters
    set.insert(elements)
    return set
  }
}
