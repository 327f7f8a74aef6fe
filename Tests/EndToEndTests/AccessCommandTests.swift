import Foundation
import NetworkSupport
import Testing

/// The command on what needs no daemon: sets, teams, two people, two steps of a sign-in.
@Suite("The command and who may what", .serialized)
struct AccessCommandTests {
  private static let secondEmail = "second@example.org"
  private static let secondPassword = "another fine password"

  private func start() throws -> Stack {
    let stack = try Stack()
    try stack.startAPI()
    try stack.signIn()
    try stack.logIn()
    let body = #"{"email":"\#(Self.secondEmail)","password":"\#(Self.secondPassword)","roles":[]}"#
    let made = try stack.post("/users", body)
    #expect(made.status == 201, "\(made.text)")
    return stack
  }

  /// With a home of his own; a failure is `status=N` at the end.
  private func second(_ stack: Stack, _ arguments: String) throws -> String {
    let home = "\(stack.folder)/second"
    return try stack.namespace.run(
      "HOME=\(home) XDG_CONFIG_HOME=\(home) \(stack.binaries)/sluice \(arguments) 2>&1 || echo status=$?")
  }

  private func secondSignsIn(_ stack: Stack, _ options: String = "") throws -> String {
    try second(stack, "login \(Self.secondEmail) --password-stdin \(options) <<<'\(Self.secondPassword)'")
  }

  @Test("sluice set: made, filled from a file, changed, shown and deleted; what is wrong is refused with words")
  func sets() throws {
    let stack = try start()
    _ = try stack.sluice("rule-set create edge")
    #expect(try stack.sluice("set create edge blocked --type ipv4_addr 192.0.2.0/24 198.51.100.7").contains("made @blocked with 2"))
    #expect(try stack.sluice("set add edge blocked 203.0.113.9 192.0.2.0/24").contains("added 1; @blocked has 3"))
    let file = "\(stack.folder)/today.txt"
    try "203.0.113.9, 203.0.113.10  # seen today\n\n203.0.113.11\n".write(toFile: file, atomically: true, encoding: .utf8)
    #expect(try stack.sluice("set replace edge blocked --file \(file)").contains("@blocked has 3"))
    #expect(JSON(try stack.sluice("set show edge blocked --json")).array.compactMap(\.string) == ["203.0.113.9", "203.0.113.10", "203.0.113.11"])
    #expect(try stack.sluice("set remove edge blocked 203.0.113.10").contains("removed 1; @blocked has 2"))
    // What came out empty by mistake is no order.
    for command in ["add", "remove", "replace", "import", "replace --file /dev/null"] {
      let words = command.split(separator: " ", maxSplits: 1)
      let rest = words.count > 1 ? String(words[1]) : command == "import" ? "-" : ""
      let none = try stack.sluice("set \(words[0]) edge blocked \(rest) 2>&1 < /dev/null || echo status=$?")
      #expect(none.contains("status=2") && none.contains("elements"), "\(command): \(none)")
    }
    #expect(JSON(try stack.sluice("set export edge blocked --json")).array.compactMap(\.string) == ["203.0.113.9", "203.0.113.11"])
    #expect(try stack.sluice("set replace edge blocked --empty").contains("changed 2; @blocked has 0"))
    #expect(try stack.sluice("set export edge blocked --json") == "[]\n")
    #expect(try stack.sluice("set import edge blocked - <<<'# two\n203.0.113.9,203.0.113.11'").contains("@blocked has 2"))
    #expect(JSON(try stack.sluice("set list edge --json"))[0]["element_count"].int == 2)
    _ = try stack.sluice("rule add edge no-blocked --source @blocked --action drop")
    let used = try stack.sluice("set delete edge blocked 2>&1 || echo status=$?")
    #expect(used.contains("status=") && used.contains("blocked"), "a rule names it: \(used)")
    let wrong = try stack.sluice("set add edge blocked 2001:db8::1 2>&1 || echo status=$?")
    #expect(wrong.contains("status=2"), "\(wrong)")
    _ = try stack.sluice("rule remove edge no-blocked")
    #expect(try stack.sluice("set add edge blocked 192.0.2.7 --ttl 12h").contains("added 1; @blocked has 3"))
    #expect(try stack.sluice("set add edge blocked 192.0.2.8 timeout 90s 192.0.2.9").contains("added 2; @blocked has 5"))
    #expect(JSON(try stack.sluice("set list edge --json"))[0]["expiring_count"].int == 2)
    #expect(try stack.sluice("set show edge blocked").contains("192.0.2.8 expires 2"))
    #expect(try stack.sluice("set add edge blocked 192.0.2.7 --ttl soon 2>&1 || echo status=$?").contains("status=2"))
    #expect(try stack.sluice("set delete edge blocked").contains("deleted @blocked"))
  }

  @Test("sluice team and resource: members see and do what their team owns, and nothing else")
  func teams() throws {
    let stack = try start()
    for name in ["edge", "core"] { _ = try stack.sluice("rule-set create \(name)") }
    #expect(try secondSignsIn(stack).contains("signed in"))
    #expect(try second(stack, "rule-set list").contains("status=4"))
    #expect(try stack.sluice("team create edge-ops --description 'the edge'").contains("created team edge-ops"))
    #expect(try stack.sluice("team member set edge-ops \(Self.secondEmail) 'Team Maintainer'").contains("is Team Maintainer"))
    #expect(try stack.sluice("resource give rule-set edge edge-ops").contains("team: edge-ops"))
    let seen = try second(stack, "rule-set list")
    #expect(seen.contains("edge") && !seen.contains("core"), "\(seen)")
    #expect(try second(stack, "rule add edge one --action count").contains("added one"))
    #expect(try second(stack, "rule add core one --action count").contains("status=5"), "what he can't see isn't there")
    #expect(try stack.sluice("resource grant rule-set core \(Self.secondEmail) Viewer").contains("is Viewer of core"))
    #expect(try !second(stack, "rule list core --json").contains("status="))
    #expect(try second(stack, "rule add core one --action count").contains("status=4"))
    #expect(try stack.sluice("team show edge-ops").contains(Self.secondEmail))
    _ = try stack.sluice("client create deploy")
    let key = try #require(JSON(try stack.sluice("client key create deploy --json"))["key"].string)
    #expect(try stack.sluice("team member set edge-ops deploy 'Team Viewer'").contains("deploy is Team Viewer of edge-ops"))
    #expect(try stack.sluice("resource grant rule-set core deploy Editor").contains("deploy is Editor of core"))
    let shown = try stack.sluice("client show deploy")
    #expect(shown.contains("team edge-ops") && shown.contains("Editor"), "\(shown)")
    #expect(
      try stack.namespace.run(
        "HOME=\(stack.folder)/none SLUICE_API_KEY=\(key) \(stack.binaries)/sluice rule add core two --action count"
      ).contains("added two"))
    #expect(try stack.sluice("resource revoke rule-set core deploy").contains("deploy has no grant"))
    #expect(try stack.sluice("team show edge-ops --json").contains(#""client""#))
    _ = try stack.sluice("team member remove edge-ops \(Self.secondEmail)")
    #expect(try second(stack, "rule list edge").contains("status=5"))
    #expect(try stack.sluice("team delete edge-ops").contains("deleted team edge-ops"))
  }

  @Test("sluice rule-set approval: a second person approves or rejects, and never his own")
  func approvals() throws {
    let stack = try start()
    _ = try stack.sluice("rule-set create edge")
    #expect(try stack.sluice("rule-set approval edge --require").contains("somebody else has to approve"))
    #expect(try stack.sluice("rule-set approve edge 1 2>&1 || echo status=$?").contains("status=4"), "his own")
    _ = try stack.sluice("resource grant rule-set edge \(Self.secondEmail) Owner")
    _ = try secondSignsIn(stack)
    #expect(try second(stack, "rule-set approve edge 1 --comment 'as discussed'").contains("approved revision 1"))
    let shown = try stack.sluice("rule-set approval edge")
    #expect(shown.contains(Self.secondEmail) && shown.contains("as discussed"))
    #expect(try second(stack, "rule-set reject edge 1").contains("rejected revision 1"))
    #expect(JSON(try stack.sluice("rule-set approval edge --json"))["decisions"][0]["decision"].string == "rejected")
    #expect(try stack.sluice("rule-set approval edge --no-require").contains("nobody has to approve"))
  }

  @Test("sluice session: another one, and all of them, end with the password only; lists are sorted, sign-ins paged")
  func sessions() throws {
    let stack = try start()
    for _ in 0..<2 { #expect(try secondSignsIn(stack).contains("signed in")) }
    let list = JSON(try second(stack, "session list --json")).array
    let other = try #require(list.first { $0["is_current"].bool == false }?["id"].string)
    #expect(list.count == 2)
    let wrong = try second(stack, "session revoke \(other) --password-stdin <<<'not this one'")
    #expect(wrong.contains("status=2") && wrong.contains("current_password"), "\(wrong)")
    #expect(try second(stack, "session revoke \(other) --password-stdin <<<'\(Self.secondPassword)'").contains("ended session"))
    #expect(JSON(try second(stack, "session list --json")).array.count == 1)
    let history = JSON(try second(stack, "session history --limit 5000 --sort at --json")).array
    #expect(history.count == 2 && history.compactMap { $0["at"].string } == history.compactMap { $0["at"].string }.sorted())
    #expect(try second(stack, "session revoke --all --password-stdin <<<'\(Self.secondPassword)'").contains("ended all"))
    let after = try second(stack, "whoami")
    #expect(after.contains("status=3") && after.contains("sluice login"), "\(after)")

    _ = try stack.sluice("rule-set create edge")
    for name in ["one", "two"] { _ = try stack.sluice("rule add edge \(name) --action count") }
    let names = JSON(try stack.sluice("rule list edge --sort=-position --json")).array.map { $0["name"].string }
    #expect(names == ["two", "one"])
    let revisions = JSON(try stack.sluice("rule-set revisions edge --sort revision --json")).array
    #expect(revisions.map { $0["revision"].int } == [1, 2, 3])
    #expect(JSON(try stack.sluice("capture list --sort=-started_at --json")).array.isEmpty)
  }

  @Test("sluice events and login tell of a changed password, and nobody else of his")
  func credentials() throws {
    let stack = try start()
    _ = try secondSignsIn(stack)
    let users = try stack.get("/users?search=second").body["data"].array
    let id = try #require(users.first?["id"].string)
    let changed = try stack.request("PATCH", "/users/\(id)", body: #"{"password":"a third fine password"}"#)
    #expect(changed.status == 200, "\(changed.text)")
    let again = try second(stack, "login \(Self.secondEmail) --password-stdin <<<'a third fine password'")
    #expect(again.contains("since your last sign-in"), "\(again)")
    let events = try stack.sluice("events --all-nodes --type account_credentials_changed")
    #expect(events.contains("account_credentials_changed  \(Self.secondEmail): the password was changed, by admin@"), "\(events)")
    #expect(try !stack.sluice("events").contains(Self.secondEmail), "it is no node's")
  }

  @Test("sluice second-factor and login: two steps, by the app's code or by a recovery code that is good once")
  func secondFactor() throws {
    let stack = try start()
    _ = try secondSignsIn(stack)
    let made = JSON(try second(stack, "second-factor enable --password-stdin --json <<<'\(Self.secondPassword)'"))
    let secret = try #require(made["secret"].string)
    // RFC 6238, without any of our code.
    func code(_ stepsAhead: Int = 0) throws -> String {
      let script = "import base64,hmac,struct,sys,time;k=base64.b32decode(sys.argv[1]+'='*(-len(sys.argv[1])%8));"
        + "h=hmac.new(k,struct.pack('>Q',int(time.time())//30+int(sys.argv[2])),'sha1').digest();o=h[-1]&15;"
        + "print('%06d'%((struct.unpack('>I',h[o:o+4])[0]&0x7fffffff)%1000000))"
      return try Shell.run("python3 -c \"\(script)\" \(secret) \(stepsAhead)").trimmingCharacters(in: .whitespacesAndNewlines)
    }
    let confirmed = JSON(try second(stack, "second-factor confirm \(try code()) --json"))
    let recovery = confirmed["recovery_codes"].array.compactMap(\.string)
    #expect(recovery.count > 1)
    _ = try second(stack, "logout")
    #expect(try secondSignsIn(stack, "--code 000000x").contains("status="), "a wrong code")
    // The code of a step is good once: the next step's is taken, too.
    #expect(try secondSignsIn(stack, "--code \(try code(1))").contains("signed in"))
    #expect(try second(stack, "second-factor status --json").contains("\"is_enabled\" : true"))
    _ = try second(stack, "logout")
    #expect(try secondSignsIn(stack, "--code \(recovery[0])").contains("signed in"))
    _ = try second(stack, "logout")
    #expect(try secondSignsIn(stack, "--code \(recovery[0])").contains("status="), "used up")
    #expect(try secondSignsIn(stack, "--code \(recovery[1])").contains("signed in"))
  }
}
