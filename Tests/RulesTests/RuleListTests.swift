import Rules
import Testing
import TestSupport

@Suite("Lists of rules in pieces")
struct RuleListTests {
  private static func rules(_ count: Int, _ name: String = "r") -> [Rule] {
    (0..<count).map { Rule(name: "\(name)\($0)", action: $0 % 3 == 0 ? .drop : .pass) }
  }

  @Test("Is what an array is, whatever was done to it, and copies stay as they were", arguments: [0, 1, 63, 256, 257, 512, 513, 3000])
  func asArray(count: Int) {
    var random = SeededGenerator(announcing: "RuleListTests")
    var array = Self.rules(count)
    var list = RuleList(array)
    for turn in 0..<300 {
      let (copy, before) = (list, array)
      let start = Int.random(in: 0...array.count, using: &random)
      // Mostly little, sometimes over several pieces.
      let length = random.chance(80) ? Int.random(in: 0...1, using: &random) : Int.random(in: 0...900, using: &random)
      let range = start..<min(array.count, start + length)
      switch Int.random(in: 0..<5, using: &random) {
      case 0:
        list.append(Rule(name: "a\(turn)", action: .pass))
        array.append(Rule(name: "a\(turn)", action: .pass))
      case 1:
        list.removeSubrange(range)
        array.removeSubrange(range)
      case 2 where start < array.count:
        list[start].comment = "\(turn)"
        array[start].comment = "\(turn)"
      case 3 where start < array.count:
        let rule = list.remove(at: start)
        #expect(rule == array.remove(at: start))
      default:
        let come = Self.rules(random.chance(80) ? 1 : Int.random(in: 0...900, using: &random), "t\(turn)-")
        list.replaceSubrange(range, with: come)
        array.replaceSubrange(range, with: come)
      }
      #expect(list.count == array.count && list.elementsEqual(array) && Array(copy) == before, "turn \(turn)")
      #expect(list.indices.allSatisfy { list[$0].name == array[$0].name })
      #expect(list == RuleList(array) && list.hashValue == RuleList(array).hashValue)
      #expect((list == copy) == (array == before))
    }
  }

  @Test("Common ends are the longest, wherever pieces begin")
  func commonEnds() {
    var random = SeededGenerator(announcing: "RuleListTests")
    for _ in 0..<100 {
      var (old, array) = (RuleList(), Self.rules(Int.random(in: 0...2000, using: &random)))
      // Of other pieces than a list that is made whole.
      for rule in array { old.append(rule) }
      var new = random.chance(50) ? old : RuleList(array)
      let before = array
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        let place = Int.random(in: 0...array.count, using: &random)
        let range = place..<min(array.count, place + Int.random(in: 0...2, using: &random))
        let come = Self.rules(Int.random(in: 0...2, using: &random), "new")
        new.replaceSubrange(range, with: come)
        array.replaceSubrange(range, with: come)
      }
      let first = zip(array, before).prefix { $0 == $1 }.count
      let most = min(array.count, before.count) - first
      let last = zip(array.reversed(), before.reversed()).prefix { $0 == $1 }.prefix(most).count
      #expect(new.commonEnds(with: old) == (first, last))
    }
  }

  @Test("The first that is wanted is found, in whatever piece")
  func firstIndex() {
    let list = RuleList(Self.rules(1000))
    for index in [0, 1, 255, 256, 511, 512, 999] { #expect(list.firstIndex { $0.name == "r\(index)" } == index) }
    #expect(list.firstIndex { $0.name == "none" } == nil && RuleList().firstIndex { _ in true } == nil)
  }
}
