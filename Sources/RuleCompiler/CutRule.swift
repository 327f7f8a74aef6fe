import CSluiceABI

/// How the words of a key are used: which are matched bit by bit, and which holds the lanes of ranges. By the tree's form,
/// see `struct sluice_record_ipv4` and `struct sluice_record_ipv6`.
enum KeyLayout {
  case ipv4
  case ipv6

  init(_ tree: sluice_tree) { self = tree == SLUICE_TREE_IPV6 ? .ipv6 : .ipv4 }

  /// The words of the key that a rule's ternaries are for, in their order.
  var ternaryWords: [Int] {
    switch self {
    case .ipv4: [0, 2, 6, 7]
    case .ipv6: [0, 1, 2, 3, 5, 6, 7]
    }
  }

  var rangeWord: Int { self == .ipv4 ? 1 : 4 }

  /// Where the header's ternary and those of the link record stand in ``ternaryWords``.
  var header: Int { self == .ipv4 ? 1 : 4 }
  var link: Int { header + 1 }
  /// That of the large sets, also in the link record, behind all others.
  var sets: Int { header + 3 }

  var recordWordCount: Int { recordByteCount / 8 }

  private var recordByteCount: Int {
    self == .ipv4 ? MemoryLayout<sluice_record_ipv4>.size : MemoryLayout<sluice_record_ipv6>.size
  }
}

/// Source port or ICMP type, destination port or ICMP code, length of the IP datagram.
enum Lane: Int, CaseIterable {
  case sourcePort, destinationPort, length

  /// Where it begins in the range word.
  var shift: Int { rawValue * Int(SLUICE_LANE_BITS) }
}

/// Matches where `(key ^ value) & mask` is zero.
struct Ternary: Hashable, BitwiseCopyable {
  var value: UInt64 = 0
  var mask: UInt64 = 0

  static func | (left: Ternary, right: Ternary) -> Ternary {
    Ternary(value: left.value | right.value, mask: left.mask | right.mask)
  }

  /// Whether nothing can match both.
  func contradicts(_ other: Ternary) -> Bool { (value ^ other.value) & mask & other.mask != 0 }

  func shifted(_ bits: Int) -> Ternary { Ternary(value: value << UInt64(bits), mask: mask << UInt64(bits)) }
}

/// One combination of a rule's elements, as a tree sees it.
struct CutRule {
  /// In the order of ``KeyLayout/ternaryWords``, and behind them that of the large sets; bits of the value outside of the mask
  /// are zero.
  var ternaries = InlineArray<8, Ternary>(repeating: Ternary())
  /// Of each lane, inclusive.
  var low = InlineArray<3, UInt32>(repeating: 0)
  /// SLUICE_NO_PORT where a packet without the field matches too.
  var high = InlineArray<3, UInt32>(repeating: UInt32(SLUICE_NO_PORT))
  /// Less is first; combinations of one rule share it. 0 is none.
  var priority: UInt32
  /// What the rule does: the low half of its label.
  var verdict: UInt32

  init(priority: UInt32, verdict: UInt32) {
    self.priority = priority
    self.verdict = verdict
  }

  var label: UInt64 { UInt64(priority) << 32 | UInt64(verdict) }

  var lowWord: UInt64 { word(low) }
  var guardedHighWord: UInt64 { word(high) | UInt64(SLUICE_LANE_GUARDS) }

  private func word(_ lanes: InlineArray<3, UInt32>) -> UInt64 {
    Lane.allCases.reduce(0) { $0 | UInt64(lanes[$1.rawValue]) << UInt64($1.shift) }
  }
}
