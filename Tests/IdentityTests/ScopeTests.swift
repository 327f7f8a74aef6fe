import Foundation
import Testing

@testable import Identity

@Suite struct ScopeExpressionTests {
  private func scopes(_ text: String) throws -> Set<Scope> { try ScopeExpression(text).scopes }

  @Test("admin holds write holds read, in every area", arguments: Scope.areas)
  func hierarchy(_ area: String) throws {
    let all = Set(Scope.allCases.filter { $0.area == area })
    #expect(try scopes("\(area):admin") == all)
    guard all.contains(where: { $0.verb == "write" }) else { return }
    let write = try scopes("\(area):write"), read = try scopes("\(area):read")
    #expect(write.isStrictSuperset(of: read) && all.isSuperset(of: write))
  }

  @Test("A star is every area, and no more than its verb says")
  func stars() throws {
    #expect(try scopes("*:read") == Set(Scope.allCases.filter { $0.verb == "read" }))
    #expect(try scopes("*:admin") == Set(Scope.allCases))
    #expect(try scopes("*:write") == Set(Scope.allCases.filter { $0.verb == "read" || $0.verb == "write" }))
    #expect(try scopes("rules:admin") == [.rulesRead, .rulesWrite, .rulesApply, .rulesApprove])
    #expect(try scopes("rules:write") == [.rulesRead, .rulesWrite], "writing is not publishing")
    #expect(try scopes("rules:apply") == [.rulesRead, .rulesApply])
    let two = [try ScopeExpression("rules:apply"), try ScopeExpression("nodes:read")]
    #expect(two.scopes == [.rulesRead, .rulesApply, .nodesRead])
  }

  @Test("Every single scope is an expression of itself and what it implies", arguments: Scope.allCases)
  func single(_ scope: Scope) throws {
    #expect(try scopes(scope.rawValue) == scope.implied.union([scope]))
    #expect(ScopeExpression(scope).scopes == scope.implied.union([scope]))
  }

  @Test(
    "What is none is refused",
    arguments: [
      "", ":", "*", "*:*", "rules", "rules:", ":read", "rules:*", "rules:read:write", "Rules:read", "rules:delete",
      "*:apply", "counters:write", "kings:read", " rules:read", "rules:read ", "rules:\u{0}", "*:", "audit:write",
      String(repeating: "a", count: 100) + ":read",
    ])
  func refused(_ text: String) {
    #expect(throws: ScopeExpressionError.self) { try ScopeExpression(text) }
  }

  @Test("The JSON form is the text")
  func json() throws {
    let data = try JSONEncoder().encode([try ScopeExpression("rules:admin")])
    #expect(String(decoding: data, as: UTF8.self) == #"["rules:admin"]"#)
    #expect(try JSONDecoder().decode([ScopeExpression].self, from: data) == [ScopeExpression("rules:admin")])
    #expect(throws: DecodingError.self) { try JSONDecoder().decode([ScopeExpression].self, from: Data(#"["x"]"#.utf8)) }
  }
}

@Suite struct APIKeyTests {
  @Test("A key survives being sent, shows its prefix and nothing else")
  func roundTrip() throws {
    var prefixes: Set<String> = []
    for _ in 0..<500 {
      let key = APIKey()
      let read = try #require(APIKey(key.text))
      #expect(read == key && read.digest == key.digest && read.prefix == key.prefix)
      #expect(key.text.hasPrefix(key.prefix + "_") && key.prefix.utf8.count == 16 && key.text.utf8.count == 60)
      #expect("\(key)" == "<redacted>" && String(reflecting: key) == "<redacted>")
      #expect(key.matches(digest: key.digest) && !key.matches(digest: APIKey().digest) && !key.matches(digest: ""))
      prefixes.insert(key.prefix)
    }
    #expect(prefixes.count == 500)
  }

  @Test("A key of another's prefix is another key")
  func swapped() throws {
    let (a, b) = (APIKey(), APIKey())
    let mixed = try #require(APIKey(a.prefix + b.text.dropFirst(b.prefix.count)))
    #expect(mixed.digest != a.digest && mixed.digest != b.digest)
  }

  @Test(
    "What never was a key is none",
    arguments: [
      "", "slk_", "slk__", "slk_abcdefghijkl", "slk_abcdefghijkl_", "slk_abcdefghijkl_x", "slk_äbcdefghijk_x",
      "slk_abcdefghijk_" + String(repeating: "A", count: 43), "SLK_abcdefghijkl_" + String(repeating: "A", count: 43),
      "slk_abcdefghij!l_" + String(repeating: "A", count: 43), "slk_abcdefghijkl_" + String(repeating: "A", count: 44),
      "slk_abcdefghijkl_" + String(repeating: "A", count: 42) + "=", String(repeating: "slk_", count: 100),
      "slk_abcdefghijkl_" + String(repeating: "A", count: 42) + "B",
    ])
  func refused(_ text: String) { #expect(APIKey(text) == nil) }
}
