import Foundation
import Testing

@testable import Identity

@Suite struct SealingKeyTests {
  private let start = Date(timeIntervalSince1970: 1_800_000_000)

  @Test("The newest active key encrypts; each opens what it encrypted; a forgotten one opens nothing")
  func ring() throws {
    let old = SealingKey.random(activeFrom: .distantPast)
    let sealer = SecretSealer(try SealingKeyRing([old]))
    let before = try sealer.seal([1, 2, 3], for: "a")
    let pending = try SealingKeyRing([old, .random(activeFrom: Date(timeIntervalSinceNow: 3600))])
    sealer.use(pending)
    #expect(SecretSealer.keyID(of: try sealer.seal([4], for: "a")) == old.id, "not yet")
    let both = try SealingKeyRing([.random(activeFrom: Date(timeIntervalSinceNow: -1)), old])
    sealer.use(both)
    let after = try sealer.seal([5], for: "a")
    #expect(SecretSealer.keyID(of: after) == both.newest.id && both.newest.id != old.id)
    #expect(try sealer.open(before, for: "a") == [1, 2, 3])
    #expect(try sealer.open(after, for: "a") == [5])
    sealer.use(both.forgettingOld())
    #expect(try sealer.open(after, for: "a") == [5])
    #expect(throws: SecretSealer.Failure.otherKey(old.id)) { try sealer.open(before, for: "a") }
    #expect(SecretSealer.keyID(of: "v2.a.b") == nil && SecretSealer.keyID(of: "") == nil)
  }

  @Test("The text comes back as it was, and the old form of one key is read")
  func text() throws {
    let ring = try SealingKeyRing([.random(activeFrom: start), .random(activeFrom: start.addingTimeInterval(90))])
    #expect(try SealingKeyRing(parsing: ring.secretText()) == ring)
    let bytes = [UInt8](repeating: 7, count: 32)
    let old = try SealingKeyRing(parsing: Data(bytes).base64EncodedString() + "\n")
    #expect(old.keys == [try SealingKey(bytes: bytes, activeFrom: Date(timeIntervalSince1970: 0))])
    #expect("\(ring) \(old.newest)".contains("redacted") && !"\(ring)".contains(ring.newest.id))
  }

  @Test("What is no ring is refused, with its line")
  func hostile() throws {
    let line = try SealingKeyRing([.random(activeFrom: start)]).secretText()
    let words = line.split(separator: " ")
    for text in [
      "x", "AAAA", "\(words[0]) \(words[1])", "00000000 \(words[1]) 1", "\(words[0]) \(words[1]) -1",
      "\(words[0]) \(words[1]) 99999999999999999999", "\(line.dropLast()) more", "\0",
    ] {
      #expect(throws: SealingKeyRing.Failure.line(1), "\(text.count) characters") { try SealingKeyRing(parsing: text) }
    }
    #expect(throws: SealingKeyRing.Failure.count(0)) { try SealingKeyRing(parsing: "\n\n") }
    #expect(throws: SealingKeyRing.Failure.count(2)) { try SealingKeyRing(parsing: line + line) }
    let many = (0...SealingKeyRing.countMax).map { _ in SealingKey.random(activeFrom: start) }
    #expect(throws: SealingKeyRing.Failure.count(9)) { try SealingKeyRing(many) }
  }
}
