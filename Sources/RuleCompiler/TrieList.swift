import CSluiceABI

/// The list of a cell in live tables: see sluice_sets_abi.h.
struct TrieList<Memory: TableMemory> {
  private let words: Range<Int>
  private let memory: Memory

  /// - Parameter cell: One without cells.
  init(_ cell: SetCell, _ memory: Memory) {
    words = cell.index..<cell.index + cell.wordCount
    self.memory = memory
  }

  /// Where an element is.
  struct Found {
    /// Index of its segment's header.
    let header: Int
    let segment: SetSegment
    let word: Int
  }

  func find(_ element: TrieElement) -> Found? {
    for (header, segment) in segments {
      for word in segment.words(ofHosts: element.isHost, at: header) where Lanes(memory.word(word)).contains(element.lane) {
        return Found(header: header, segment: segment, word: word)
      }
    }
    return nil
  }

  /// Puts an element that isn't there into a lane that repeats another one, if there is one where its sets are.
  ///
  /// - Returns: Whether it is there now.
  func fill(_ element: TrieElement) -> Bool {
    for (header, segment) in segments where segment.sets == element.sets {
      for word in segment.words(ofHosts: element.isHost, at: header) {
        var lanes = Lanes(memory.word(word))
        guard lanes.replaceRepetition(by: element.lane) else { continue }
        memory.store(lanes.word, at: word)
        return true
      }
    }
    return false
  }

  /// Takes an element out without another list.
  func remove(_ element: TrieElement, _ found: Found) {
    var lanes = Lanes(memory.word(found.word))
    if lanes.remove(element.lane) { return memory.store(lanes.word, at: found.word) }
    // Its word is another's from now on, whose own is left out then. That stays as it is: who has read the header before reads it.
    let last = found.segment.lastWord(ofHosts: element.isHost, at: found.header)
    if found.word != last { memory.store(memory.word(last), at: found.word) }
    memory.store(found.segment.dropping(host: element.isHost).word, at: found.header)
  }

  var isEmpty: Bool { segments.allSatisfy { $0.segment.isEmpty } }

  /// In no order; one that is in several lanes as often.
  var elements: [TrieElement] {
    var elements: [TrieElement] = []
    for (header, segment) in segments {
      for isHost in [true, false] {
        for word in segment.words(ofHosts: isHost, at: header) {
          let lanes = Lanes(memory.word(word))
          for index in 0..<4 { elements.append(TrieElement(lane: lanes[index], isHost: isHost, sets: segment.sets)) }
        }
      }
    }
    return elements
  }

  private var segments: some Sequence<(header: Int, segment: SetSegment)> {
    sequence(state: words.lowerBound) { next -> (header: Int, segment: SetSegment)? in
      guard next < words.upperBound else { return nil }
      let segment = SetSegment(word: memory.word(next))
      defer { next += segment.wordCount }
      return (next, segment)
    }
  }
}

/// Four numbers of 16 bits in a word.
private struct Lanes {
  private(set) var word: UInt64

  init(_ word: UInt64) { self.word = word }

  subscript(index: Int) -> UInt16 {
    get { UInt16(truncatingIfNeeded: word >> UInt64(16 * index)) }
    set { word = word & ~(0xffff << UInt64(16 * index)) | UInt64(newValue) << UInt64(16 * index) }
  }

  func contains(_ lane: UInt16) -> Bool { (0..<4).contains { self[$0] == lane } }

  /// False: there is none.
  mutating func replaceRepetition(by lane: UInt16) -> Bool {
    for index in 1..<4 where (0..<index).contains(where: { self[$0] == self[index] }) {
      self[index] = lane
      return true
    }
    return false
  }

  /// False: there would be none left.
  mutating func remove(_ lane: UInt16) -> Bool {
    guard let other = (0..<4).first(where: { self[$0] != lane }) else { return false }
    for index in 0..<4 where self[index] == lane { self[index] = self[other] }
    return true
  }
}
