import CLinuxShims
import Glibc

/// A thread of its own, outside Swift's cooperative pool: named, all signals blocked, pinned to one CPU if asked.
///
/// It lives in the network namespace of the thread that spawned it. Joined at the latest when its owner goes.
public struct PinnedThread: ~Copyable, Sendable {
  private let handle: pthread_t
  /// The CPU it is pinned to; nil if it roams.
  public let cpu: Int?

  /// The calling thread runs when others of this CPU don't, mostly: nice 10 (on Linux a thread has its own, sched(7)).
  public static func giveWay() { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10) }

  /// Starts a thread and returns once it runs where it should.
  ///
  /// - Parameters:
  ///   - name: Shown by ps and top; the kernel keeps 15 bytes.
  ///   - cpu: Set in the thread itself, so that memory it touches first lands on that CPU's node and nobody else is
  ///     pinned. EINVAL if the CPU is offline or not allowed to this process.
  public static func spawn(
    name: String, cpu: Int? = nil, _ body: @escaping @Sendable () -> Void
  ) throws(SystemError) -> PinnedThread {
    let started = Handoff<SystemError?>()
    let start = Start(
      name: String(decoding: name.utf8.prefix(15), as: UTF8.self), cpu: cpu, started: started, body: body)
    let context = Unmanaged.passRetained(start)
    var handle = pthread_t()
    var everything = sigset_t()
    var before = sigset_t()
    sigfillset(&everything)
    // Blocked here so that the thread never runs a moment with signals open.
    pthread_sigmask(SIG_SETMASK, &everything, &before)
    let code = pthread_create(&handle, nil, { Start.run($0) }, context.toOpaque())
    pthread_sigmask(SIG_SETMASK, &before, nil)
    if code != 0 {
      context.release()
      throw SystemError(operation: "start thread", code: code, subject: name)
    }
    if let error = started.take() {
      pthread_join(handle, nil)
      throw error
    }
    return PinnedThread(handle: handle, cpu: cpu)
  }

  private init(handle: pthread_t, cpu: Int?) {
    self.handle = handle
    self.cpu = cpu
  }

  /// Waits for the thread's body to return. Not to be called on the thread itself.
  public consuming func join() {}  // the deinit does it

  deinit {
    // The body itself may hold the last reference to the thread's owner: then there is nobody to join it.
    if pthread_join(handle, nil) == EDEADLK { pthread_detach(handle) }
  }

  private final class Start: Sendable {
    private let name: String
    private let cpu: Int?
    private let started: Handoff<SystemError?>
    private let body: @Sendable () -> Void

    init(name: String, cpu: Int?, started: Handoff<SystemError?>, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.cpu = cpu
      self.started = started
      self.body = body
    }

    static func run(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
      guard let context else { return nil }
      let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
      sluice_thread_set_name(start.name)
      do throws(SystemError) {
        if let cpu = start.cpu {
          try check("pin thread", "\(start.name) to CPU \(cpu)") { sluice_thread_pin(CInt(clamping: cpu)) }
        }
      } catch {
        start.started.put(error.withRemedy("choose an online CPU that the process may use"))
        return nil
      }
      start.started.put(nil)
      start.body()
      return nil
    }
  }
}
